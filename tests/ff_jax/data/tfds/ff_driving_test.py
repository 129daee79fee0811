import os
import sys
from dataclasses import fields

import numpy as np
import pytest

pytest.importorskip("tensorflow_datasets")

from ff_jax.data.formats.registry import open_source
from ff_jax.data.lazy_arrays import Source
from ff_jax.data.tfds import ff_driving, reader
from ff_jax.data.validate import validate


@pytest.mark.parametrize("name", ["tiny", "bare log"])
def test_what_is_stored_is_read(data_set, name):
    folder, scenes = data_set
    scene, actual = scenes[name], validate(reader.read_log(folder, name), decode=True)
    assert "tensorflow" not in sys.modules
    equal(actual, scene)


def equal(actual, expected):
    """Compare two logs exactly, pixels and points included."""
    if isinstance(expected, Source):
        return np.testing.assert_array_equal(actual.load(), expected.load())
    if isinstance(expected, np.ndarray):
        return np.testing.assert_array_equal(actual, expected)
    if isinstance(expected, tuple):
        assert len(actual) == len(expected)
        return [equal(*pair) for pair in zip(actual, expected, strict=True)]
    if isinstance(expected, dict):
        assert set(actual) == set(expected)
        return [equal(actual[key], expected[key]) for key in expected]
    if hasattr(expected, "__dataclass_fields__"):
        return [equal(getattr(actual, f.name), getattr(expected, f.name)) for f in fields(expected)]
    assert actual == expected and type(actual) is type(expected)


def test_files_keep_their_bytes(data_set):
    folder, scenes = data_set
    frame = open_source(f"{folder}?log=tiny").frames[3]
    assert frame.image.read() == scenes["tiny"].frames[3].image.path.read_bytes()


def test_the_earlier_spelling_of_license_is_read(data_set, monkeypatch):
    folder, scenes = data_set
    stored_examples = reader.stored_examples

    def with_earlier_spelling(data_dir, part, log):
        examples = stored_examples(data_dir, part, log)
        if part != "log":
            return examples
        return [{"licence" if key == "license" else key: example[key] for key in example} for example in examples]

    monkeypatch.setattr(reader, "stored_examples", with_earlier_spelling)
    assert reader.read_log(folder, "tiny").license == scenes["tiny"].license


def test_what_is_wrong_is_said_in_one_sentence(data_set, tmp_path):
    folder, scenes = data_set
    assert reader.log_names(folder) == ["bare_log", "tiny"]
    cases = {
        "holds no driving logs; use the folder above": lambda: reader.read_log(tmp_path),
        "invalid log=''; expected one of bare_log, tiny": lambda: reader.read_log(folder),
        "invalid log='x'": lambda: open_source(f"{folder}?log=x"),
        "exists; choose another folder": lambda: ff_driving.build([scenes["tiny"]], folder),
        "expected at least one, with different names": lambda: ff_driving.build([scenes["tiny"]] * 2, tmp_path),
    }
    for message, act in cases.items():
        with pytest.raises(ValueError, match=message):
            act()
    assert os.listdir(tmp_path) == []
