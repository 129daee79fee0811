"""Shared parts of the entry points."""

import pytest
from absl import flags

from experiments.cli import command_line


def list_flag(*entries):
    values = flags.FlagValues()
    holder = flags.DEFINE_list("seeds", list(entries), "", flag_values=values)
    values.mark_as_parsed()
    return holder


def test_list_flags_are_parsed_to_numbers():
    assert command_line.parse_numbers(list_flag("-2", "0.5")) == (-2.0, 0.5)
    assert (
        command_line.parse_numbers(list_flag("0", "7"), int) == (0, 7)
        and command_line.parse_numbers(list_flag(), int) == ()
    )
    with pytest.raises(ValueError, match=r"invalid --seeds=.1\.5.: expected whole numbers from 0 to \d+, separated"):
        command_line.parse_numbers(list_flag("1", "1.5"), int)
    with pytest.raises(ValueError, match="invalid --seeds='left'"):
        command_line.parse_numbers(list_flag("left"))


def test_pairs_are_parsed():
    assert command_line.parse_pair("1000:1080", ":", "seeds") == (1000, 1080)
    assert command_line.parse_pair("0.03:0.3", ":", "off", float) == (0.03, 0.3)
    for text in ("4", "4:", "a:b", "4:8:2", "-4:8", "1.5:2"):
        with pytest.raises(ValueError, match=r"invalid --part='.*': expected two whole numbers, such as 4/8\."):
            command_line.parse_pair(text.replace(":", "/"), "/", "part")
    with pytest.raises(ValueError, match=r"invalid --off='0\.2': expected two numbers, such as 0\.2:2\."):
        command_line.parse_pair("0.2", ":", "off", float)


def test_figures_of_finished_seeds_are_read(tmp_path):
    computed = []

    def figures(seed, folder):
        computed.append(seed)
        return {"folder": folder.name, "twice": 2 * seed}

    for seeds in ([1], [0, 1]):
        rows = command_line.figures_by_seed(tmp_path, seeds, figures)
    assert computed == [1, 0] and rows[1] == {"folder": "seed1", "twice": 2} and list(rows) == [0, 1]


def test_errors_of_overrides_have_no_nested_quotes():
    config = command_line.config_dict(command_line.FuseConfig()).lock()
    with pytest.raises(AttributeError) as caught:
        _ = config.stepz
    assert command_line._one_line(caught.value).startswith("'stepz' Did you mean \"steps\"")


def test_a_setting_that_does_not_exist_is_an_error_of_the_flag_and_not_of_the_config_file(monkeypatch):
    arguments = ["fuse", "--config=configs/mine.py", "--config.data.test_every=0"]
    monkeypatch.setattr("sys.argv", arguments)
    unknown = command_line._flag_error(AttributeError("test_every"))
    assert unknown.startswith("error: invalid flag: test_every; ff_jax/pipeline/config.py")
    of_file = command_line._flag_error(AttributeError("module 'jax' has no attribute 'x'"))
    assert of_file.startswith("error: configs/mine.py cannot be used (AttributeError: module 'jax'")
