"""Impossible settings are refused."""

import dataclasses

import pytest

from ff_jax.fixers.difix.config import DifixConfig, ImageVaeConfig, UNetConfig, published, tiny

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UNetConfig(heads=(5, 10)), "one entry per level"),
        (lambda: UNetConfig(channels=(48, 64), heads=(2, 2)), "multiples of 32"),
        (lambda: UNetConfig(channels=(32, 64), heads=(3, 2)), "multiples of 32 and of heads"),
        (lambda: ImageVaeConfig(channels=(128, 200)), "multiples of groups=32"),
        (lambda: DifixConfig(dtype="float16"), "invalid dtype='float16': expected one of float32, bfloat16"),
        (lambda: DifixConfig(tile=(570, 1024)), r"tile=\(570, 1024\) must be multiples of 64"),
        (lambda: DifixConfig(overlap=576), "overlap=576 must be below the smaller side"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_both_sizes_are_static_arguments():
    for config in (tiny(), published()):
        assert hash(config) == hash(dataclasses.replace(config))
