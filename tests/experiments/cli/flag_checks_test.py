"""Flags of all entry points: every number has a range, and no value outside it is parsed."""

import ast
import math
from pathlib import Path

import pytest
from absl import flags

from experiments.cli import command_line
from experiments.cli.flag_checks import check_flags

ROOT = Path(command_line.__file__).parents[1]
VALUES = ("0", "-1", "nan", "inf", "-inf", "1e30", "1" + "0" * 30, "many", "", "1,2")


def numeric_flags():
    """Find the definitions of numeric flags: file, name, and the call with its bounds."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("flags.DEFINE_integer", "flags.DEFINE_float"):
                yield pytest.param(node, id=f"{path.relative_to(ROOT)}:{ast.literal_eval(node.args[0])}")


def bound(node: ast.Call, name: str):
    value = next((keyword.value for keyword in node.keywords if keyword.arg == name), None)
    assert value is not None, f"no {name}"
    try:
        return ast.literal_eval(value)
    except ValueError:
        return 1  # computed from a constant of the module


@pytest.mark.parametrize("node", numeric_flags())
def test_every_number_is_parsed_within_its_range_or_refused(node):
    low, high = bound(node, "lower_bound"), bound(node, "upper_bound")
    define = flags.DEFINE_integer if ast.unparse(node.func).endswith("integer") else flags.DEFINE_float
    for text in VALUES:
        values = flags.FlagValues()
        define("number", None, "A number.", lower_bound=low, upper_bound=high, flag_values=values)
        try:
            values(["program", f"--number={text}"])
            check_flags([values["number"]])
        except (flags.Error, ValueError) as error:
            assert "number" in str(error)
            continue
        number = float(text)
        assert math.isfinite(number) and low <= number <= high


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


@pytest.mark.parametrize("text", ["nan", "inf", "1e30", "-1", "x", "1.5"])
def test_entries_of_lists_are_checked(text):
    defined = flags.FlagValues()
    holder = flags.DEFINE_list("seeds", [], "Seeds.", flag_values=defined)
    defined(["program", f"--seeds=3,{text}"])
    with pytest.raises(ValueError, match="seeds"):
        command_line.parse_numbers(holder, int)
    if text not in ("-1", "1.5"):
        with pytest.raises(ValueError, match="seeds"):
            command_line.parse_numbers(holder)


@pytest.mark.parametrize("text", ["9:5", "5:5", "5", "-1:4", "a:b", "1:1e9", "0:" + "9" * 30, ""])
def test_ranges_hold_something(text):
    with pytest.raises(ValueError, match="seeds"):
        command_line.parse_range(text, "seeds")
    assert list(command_line.parse_range("2:5", "seeds")) == [2, 3, 4]


@pytest.mark.parametrize("text", ["nan:1", "1:inf", "1", "-1:2", ""])
def test_pairs_are_finite(text):
    with pytest.raises(ValueError, match="off"):
        command_line.parse_pair(text, ":", "off", float)
