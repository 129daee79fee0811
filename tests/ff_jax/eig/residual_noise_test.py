"""Noise and information weights from residuals."""

import jax.numpy as jnp
import numpy as np

from ff_jax.eig import residual_noise
from tests.random_inputs import seeded_rng


def test_weight_equals_a_naive_window_mean():
    rng = seeded_rng()
    residual, valid = rng.normal(0, 0.1, (9, 11, 3)), rng.random((9, 11)).round(1)
    valid[:4, :4] = 0
    arrays = jnp.asarray(residual, jnp.float32), jnp.asarray(valid, jnp.float32)
    weight = residual_noise.information_weight(*arrays, 0.02, 0.5)
    squared = (residual**2).mean(-1)
    for y, x in np.ndindex(9, 11):
        window = np.s_[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
        total = valid[window].sum()
        local = (valid * squared)[window].sum() / total if total else 0.0
        np.testing.assert_allclose(weight[y, x], 0.02**2 / (0.02**2 + 0.5 * local), rtol=1e-4)


def test_noise_of_new_views_is_the_root_mean_square_without_nan():
    residual = seeded_rng().normal(0, 0.1, (3, 50))
    residual[1, ::2] = np.nan
    expected = np.sqrt(np.nanmean(residual**2))
    noise = residual_noise.noise_of_new_views(jnp.asarray(residual, jnp.float32))
    np.testing.assert_allclose(noise, expected, rtol=1e-5)
    assert float(residual_noise.noise_of_new_views(jnp.zeros(4))) == float(jnp.float32(1e-3))


def test_correlated_residuals_count_once():
    """n views of one place have the information 1 / (noise^2 / n + misfit^2) together."""
    residual, valid, n = jnp.full((5, 5, 3), 0.2), jnp.ones((5, 5)), 10
    information = n * residual_noise.information_weight(residual, valid, 0.1, n) / 0.1**2
    np.testing.assert_allclose(information, 1 / (0.1**2 / n + 0.2**2), rtol=1e-5)


def test_a_perfect_fit_has_weight_1_and_residuals_outside_the_mask_are_ignored():
    residual = jnp.zeros((8, 8, 3)).at[:, 6:].set(jnp.nan)
    valid = jnp.ones((8, 8)).at[:, 6:].set(0.0)
    np.testing.assert_allclose(residual_noise.information_weight(residual, valid, 0.01), 1.0)
    np.testing.assert_allclose(residual_noise.information_weight(jnp.ones((8, 8, 3)), valid, 0.01, 0), 1.0)


def test_noise_ignores_errors_of_the_scene_model():
    rng = seeded_rng()
    residuals = rng.normal(0, 0.03, (50, 60, 3))
    residuals[:8] += rng.uniform(-1, 1, (8, 60, 3))  # a moving object
    residuals[40:] = np.nan
    sigma = residual_noise.noise_from_residuals(jnp.asarray(residuals, jnp.float32))
    assert 0.028 < sigma < 0.045
    np.testing.assert_allclose(residual_noise.noise_from_residuals(jnp.zeros((4, 4))), 1e-3)


def test_a_fully_masked_camera_has_a_finite_noise():
    """Its weights are 0, and 0 / noise^2 must be 0: NaN would reach every Gaussian."""
    masked = jnp.full((3, 5), jnp.nan)
    for noise in (residual_noise.noise_from_residuals(masked), residual_noise.noise_of_new_views(masked)):
        weight = residual_noise.information_weight(jnp.zeros((4, 4, 3)), jnp.zeros((4, 4)), noise, 2.0)
        assert np.isfinite(weight).all() and float(jnp.abs(0 * weight / noise**2).max()) == 0.0
