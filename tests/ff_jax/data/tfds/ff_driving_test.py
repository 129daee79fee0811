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
def test_what_is_stored_is_read(built, name):
    folder, scenes = built
    scene, found = scenes[name], validate(reader.read_log(folder, name), decode=True)
    assert "tensorflow" not in sys.modules
    equal(found, scene)


def equal(found, expected):
    """Compare two logs exactly, pixels and points included."""
    if isinstance(expected, Source):
        return np.testing.assert_array_equal(found.load(), expected.load())
    if isinstance(expected, np.ndarray):
        return np.testing.assert_array_equal(found, expected)
    if isinstance(expected, tuple):
        assert len(found) == len(expected)
        return [equal(*pair) for pair in zip(found, expected, strict=True)]
    if isinstance(expected, dict):
        assert set(found) == set(expected)
        return [equal(found[key], expected[key]) for key in expected]
    if hasattr(expected, "__dataclass_fields__"):
        return [equal(getattr(found, f.name), getattr(expected, f.name)) for f in fields(expected)]
    assert found == expected and type(found) is type(expected)


def test_files_keep_their_bytes(built):
    folder, scenes = built
    frame = open_source(f"{folder}?log=tiny").frames[3]
    assert frame.image.read() == scenes["tiny"].frames[3].image.path.read_bytes()


def test_what_is_wrong_is_said_in_one_sentence(built, tmp_path):
    folder, scenes = built
    assert reader.log_names(folder) == ["bare_log", "tiny"]
    cases = {
        "holds no driving logs; name the folder above": lambda: reader.read_log(tmp_path),
        "log='' names none of its logs; use one of bare_log, tiny": lambda: reader.read_log(folder),
        "log='x' names none": lambda: open_source(f"{folder}?log=x"),
        "exists; choose another folder": lambda: ff_driving.build([scenes["tiny"]], folder),
        "give at least one, and names that differ": lambda: ff_driving.build([scenes["tiny"]] * 2, tmp_path),
    }
    for message, act in cases.items():
        with pytest.raises(ValueError, match=message):
            act()
    assert os.listdir(tmp_path) == []
