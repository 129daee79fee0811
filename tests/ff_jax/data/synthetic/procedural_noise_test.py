"""Patterns against sampling, and noise statistics."""

import jax.numpy as jnp
import numpy as np

from ff_jax.data.synthetic.procedural_noise import band, hash_unit, leaf_field, octaves, stripes
from tests.random_inputs import seeded_rng


def test_filtered_patterns_are_averages_of_sharp_ones():
    rng = seeded_rng()
    x, width = rng.uniform(-5, 5, 40), rng.uniform(0.05, 3, 40)
    fine = x[:, None] + width[:, None] * ((np.arange(4000) + 0.5) / 4000 - 0.5)
    got = stripes(jnp.asarray(x), 1.3, 0.4, jnp.asarray(width))
    np.testing.assert_allclose(got, (fine % 1.3 < 0.4).mean(1), atol=5e-3)
    got = band(jnp.asarray(x), 1.1, jnp.asarray(width))
    np.testing.assert_allclose(got, (np.abs(fine) <= 1.1).mean(1), atol=5e-3)


def test_hash_is_uniform_and_differs_between_neighbors():
    i, j = jnp.meshgrid(jnp.arange(-100, 100), jnp.arange(-100, 100))
    values = np.asarray(hash_unit(i, j))
    assert values.min() >= 0 and values.max() < 1
    np.testing.assert_allclose(np.histogram(values, 10, (0, 1))[0] / values.size, 0.1, atol=0.01)
    assert abs(np.corrcoef(values[:, 1:].ravel(), values[:, :-1].ravel())[0, 1]) < 0.02


def test_octaves_fade_with_the_footprint_and_are_continuous():
    rng = seeded_rng()
    x, y = (jnp.asarray(rng.uniform(-500, 500, 2000), jnp.float32) for _ in range(2))
    sharp, blurred = octaves(x, y, 0 * x), octaves(x, y, 0 * x + 1.0)
    assert np.std(np.asarray(sharp), axis=1).min() > 0.1
    assert np.abs(np.asarray(sharp).mean(1)).max() < 0.03
    assert (np.asarray(blurred)[:3] == 0).all() and np.std(np.asarray(blurred)[5]) > 0.1
    step = np.abs(np.asarray(octaves(x + 1e-3, y, 0 * x) - sharp))
    assert step[5].max() < 1e-3


def test_leaf_field_is_bounded():
    rng = seeded_rng()
    x, y, z = (jnp.asarray(rng.uniform(-50, 50, 5000)) for _ in range(3))
    field = np.asarray(leaf_field(x, y, z, 2.0))
    assert np.abs(field).max() <= 3.0 and np.std(field) > 0.5
