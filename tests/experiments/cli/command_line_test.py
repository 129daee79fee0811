"""What the entry points share."""

import pytest
from absl import flags

from experiments.cli import command_line


def listed(*entries):
    values = flags.FlagValues()
    holder = flags.DEFINE_list("seeds", list(entries), "", flag_values=values)
    values.mark_as_parsed()
    return holder


def test_list_flags_become_numbers_or_one_sentence():
    assert command_line.numbers(listed("-2", "0.5")) == (-2.0, 0.5)
    assert command_line.numbers(listed("0", "7"), int) == (0, 7) and command_line.numbers(listed(), int) == ()
    with pytest.raises(ValueError, match=r"--seeds='1\.5' is wrong: give whole numbers, separated by commas\."):
        command_line.numbers(listed("1", "1.5"), int)
    with pytest.raises(ValueError, match="--seeds='left' is wrong: give numbers"):
        command_line.numbers(listed("left"))


def test_two_numbers_or_one_sentence():
    assert command_line.pair("1000:1080", ":", "seeds") == (1000, 1080)
    assert command_line.pair("0.03:0.3", ":", "off", float) == (0.03, 0.3)
    for text in ("4", "4:", "a:b", "4:8:2", "-4:8", "1.5:2"):
        with pytest.raises(ValueError, match=r"--part='.*' is wrong: give two whole numbers, such as 4/8\."):
            command_line.pair(text.replace(":", "/"), "/", "part")
    with pytest.raises(ValueError, match=r"--off='0\.2' is wrong: give two numbers, such as 0\.2:2\."):
        command_line.pair("0.2", ":", "off", float)


def test_figures_of_finished_seeds_are_only_read(tmp_path):
    asked = []

    def figures(seed, folder):
        asked.append(seed)
        return {"folder": folder.name, "twice": 2 * seed}

    for seeds in ([1], [0, 1]):
        rows = command_line.figures_by_seed(tmp_path, seeds, figures)
    assert asked == [1, 0] and rows[1] == {"folder": "seed1", "twice": 2} and list(rows) == [0, 1]


def test_a_wrong_override_is_named_without_quotes_upon_quotes():
    config = command_line.config_dict(command_line.FuseConfig()).lock()
    with pytest.raises(AttributeError) as caught:
        _ = config.stepz
    assert command_line._one_line(caught.value).startswith("'stepz' Did you mean \"steps\"")
