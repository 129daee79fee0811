"""Flags of all entry points: every number has a range, and no value outside it is parsed."""

import pytest
from absl import flags

from experiments.cli import command_line
from experiments.cli.flag_checks import check_flags
from experiments.studies.measures.robustness import flag_cases
from experiments.studies.measures.robustness.outcomes import BAD, attempt


@pytest.mark.parametrize("flag", flag_cases.number_flags(), ids=lambda flag: flag.place)
def test_every_number_has_a_range(flag):
    assert flag.low < flag.high


def test_every_value_is_parsed_within_its_range_or_refused(tmp_path):
    results = [attempt(case, tmp_path) for case in flag_cases.cases()]
    assert len(results) > 500 and not [result for result in results if result.kind in BAD]


def test_a_range_in_order_is_parsed():
    assert list(command_line.parse_range("2:5", "seeds")) == [2, 3, 4]


@pytest.fixture
def values():
    defined = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "Folder.", flag_values=defined)
    flags.DEFINE_string("layer", "", "May be empty.", flag_values=defined)
    flags.DEFINE_list("seeds", ["0", "1"], "Seeds.", flag_values=defined)
    flags.DEFINE_list("drop", [], "May be empty.", flag_values=defined)
    return defined


@pytest.mark.parametrize(("argument", "is_valid"), [
    ("--workdir=", False),
    ("--workdir=x", True),
    ("--layer=", True),
    ("--seeds=", False),
    ("--seeds=3", True),
    ("--drop=", True),
])  # fmt: skip
def test_empty_texts_and_lists_are_refused_where_something_is_needed(values, argument, is_valid):
    values(["program", argument])
    defined = [values[name] for name in values]
    if is_valid:
        check_flags(defined)
    else:
        with pytest.raises(ValueError, match=argument):
            check_flags(defined)
