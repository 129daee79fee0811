import dataclasses

import jax
import numpy as np
import pytest

from ff_jax.fixers.reference_unet.config import ReferenceUnetConfig
from ff_jax.fixers.reference_unet.fixer import init_params
from ff_jax.fixers.self_fit.start import start_params

pytestmark = pytest.mark.slow

CONFIG = ReferenceUnetConfig(conditions=("lidar",))


def leaves(params):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(params)]


@pytest.mark.parametrize("source", ["near", "lidar"])
def test_every_source_starts_from_the_trained_weights(source):
    key = jax.random.key(0)
    start = leaves(start_params(key, dataclasses.replace(CONFIG, source=source)))
    for value, expected in zip(start, leaves(start_params(key, CONFIG)), strict=True):
        np.testing.assert_array_equal(value, expected)
    new = leaves(init_params(key, CONFIG))
    assert sum(not np.array_equal(a, b) for a, b in zip(start, new, strict=True)) > len(start) / 2
