import random

import pytest

from ff_jax.data.file_names import natural_key, portable


def test_numbers_sort_as_numbers():
    names = ["a/f1.png", "a/f2.png", "a/f10.png", "a/f0010x.png", "b2/0", "b10/0", "c"]
    shuffled = random.sample(names, len(names))
    assert sorted(shuffled, key=natural_key) == names
    assert sorted(["02", "2", "1"], key=natural_key) == ["1", "02", "2"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("./images/a.png", "images/a.png"),
        ("images\\a.png", "images/a.png"),
        (".\\x//./a.png", "x/a.png"),
        ("/abs/a.png", "/abs/a.png"),
        ("../a.png", "../a.png"),
        ("a.png", "a.png"),
    ],
)
def test_one_file_has_one_name(name, expected):
    assert portable(name) == expected
