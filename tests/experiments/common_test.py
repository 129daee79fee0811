"""What the entry points share."""

import pytest
from absl import flags

from experiments import common


def listed(*entries):
    values = flags.FlagValues()
    holder = flags.DEFINE_list("seeds", list(entries), "", flag_values=values)
    values.mark_as_parsed()
    return holder


def test_list_flags_become_numbers_or_one_sentence():
    assert common.numbers(listed("-2", "0.5")) == (-2.0, 0.5)
    assert common.numbers(listed("0", "7"), int) == (0, 7) and common.numbers(listed(), int) == ()
    with pytest.raises(ValueError, match=r"--seeds='1\.5' is wrong: give whole numbers, separated by commas\."):
        common.numbers(listed("1", "1.5"), int)
    with pytest.raises(ValueError, match="--seeds='left' is wrong: give numbers"):
        common.numbers(listed("left"))


def test_a_wrong_override_is_named_without_quotes_upon_quotes():
    config = common.config_dict(common.FuseConfig()).lock()
    with pytest.raises(AttributeError) as caught:
        _ = config.stepz
    assert common._one_line(caught.value).startswith("'stepz' Did you mean \"steps\"")
