"""Density control by Markov chain Monte Carlo."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.render.gaussians import Gaussians, opacities
from ff_jax.train.densify.mcmc import DensityConfig, _draw, _shared_opacity_and_scale, explore, relocate
from tests.random_inputs import seeded_rng
from tests.scenes import normal


def random_gaussians(rng, count, opacity):
    logits = jnp.log(opacity) - jnp.log1p(-opacity)
    means, quats, log_scales, sh = (normal(rng, count, *shape) for shape in ((3,), (4,), (3,), (4, 3)))
    return Gaussians(means, quats, log_scales, logits, sh)


def naive_rule(opacity, n):
    """Compute equation 9 of arXiv 2404.09591 as a double sum in float64."""
    shared = 1 - (1 - opacity) ** (1 / n)
    total = sum(
        math.comb(i - 1, k) * (-1) ** k * shared ** (k + 1) / math.sqrt(k + 1)
        for i in range(1, n + 1)
        for k in range(i)
    )
    return shared, opacity / total


def test_copies_rule_matches_the_double_sum():
    rng = seeded_rng()
    opacity = rng.uniform(0.01, 0.95, 64)
    copies = rng.integers(1, 25, 64)
    shared, factor = _shared_opacity_and_scale(jnp.asarray(opacity, jnp.float32), jnp.asarray(copies, jnp.int32))
    expected = np.array([naive_rule(o, int(n)) for o, n in zip(opacity, copies, strict=True)])
    np.testing.assert_allclose(shared, expected[:, 0], rtol=2e-4)
    np.testing.assert_allclose(factor, expected[:, 1], rtol=2e-3)


def test_transparent_gaussians_are_relocated_and_new_ones_added_within_the_budget():
    rng = seeded_rng()
    opacity = jnp.asarray(np.where(np.arange(200) % 4 == 0, 1e-3, rng.uniform(0.2, 0.9, 200)), jnp.float32)
    gaussians = random_gaussians(rng, 200, opacity)
    alive = jnp.arange(200) < 120
    config = DensityConfig(growth=1.5)
    new, new_alive, changed, source = relocate(jax.random.key(0), gaussians, alive, config, 150)
    assert int(new_alive.sum()) == 150  # growth to 180, budget of 150
    assert bool((opacities(new, new_alive)[new_alive] >= config.min_opacity).all())
    transparent = np.flatnonzero(np.asarray(alive & (opacity < config.min_opacity)))
    opaque = np.flatnonzero(np.asarray(alive & (opacity > config.min_opacity)))
    for slot in transparent:
        assert np.any(np.all(new.means[slot] == gaussians.means[opaque], axis=-1))
    unchanged = ~np.asarray(changed)
    np.testing.assert_array_equal(new.means, gaussians.means[source])
    assert np.isin(source[np.asarray(source != jnp.arange(200))], opaque).all()
    for before, after in zip(jax.tree.leaves(gaussians), jax.tree.leaves(new), strict=True):
        np.testing.assert_array_equal(np.asarray(before)[unchanged], np.asarray(after)[unchanged])


@pytest.mark.slow
def test_an_empty_buffer_stays_empty():
    gaussians = random_gaussians(seeded_rng(), 8, jnp.full(8, 0.5))
    new, alive, changed, _ = relocate(jax.random.key(0), gaussians, jnp.zeros(8, bool), DensityConfig(), 8)
    assert not bool(alive.any()) and not bool(changed.any())
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(new))


@pytest.mark.slow
def test_noise_moves_only_transparent_gaussians_along_their_covariance():
    rng = seeded_rng()
    count = 2000
    opacity = jnp.where(jnp.arange(count) < count // 2, 1e-4, 0.9)
    gaussians = random_gaussians(rng, count, opacity)
    flat = gaussians.replace(
        quats=jnp.zeros((count, 4)).at[:, 0].set(1.0), log_scales=jnp.zeros((count, 3)).at[:, 2].set(-9.0)
    )
    moved = explore(jax.random.key(1), flat, jnp.ones(count, bool), 1e-5, DensityConfig())
    shift = np.asarray(moved.means - flat.means)
    assert np.abs(shift[count // 2 :]).max() == 0
    assert np.abs(shift[: count // 2, :2]).mean() > 0.1 and np.abs(shift[:, 2]).max() < 1e-3


def test_only_slots_of_positive_weight_are_drawn():
    """Prefix sums of a large buffer fall, and rise at slots without weight."""
    rng = seeded_rng()
    weights = np.where(rng.random(200_000) < 0.7, rng.random(200_000), 0).astype(np.float32)
    slots = np.asarray(jax.jit(_draw)(jax.random.key(1), jnp.asarray(weights)))
    assert (weights[slots] > 0).all()
    halves = np.bincount(slots // 100_000, minlength=2) / len(slots)
    expected = weights.reshape(2, -1).sum(1, dtype=float) / weights.sum(dtype=float)
    np.testing.assert_allclose(halves, expected, atol=0.01)
    rare = jnp.zeros(5000).at[4321].set(1e-3)
    assert (_draw(jax.random.key(2), rare) == 4321).all()
