"""How far a training pixel is trusted, given the residuals around it."""

import jax.numpy as jnp
import numpy as np

from ff_jax.eig import residual_noise


def test_trust_equals_a_naive_window_mean():
    rng = np.random.default_rng()
    residual, valid = rng.normal(0, 0.1, (9, 11, 3)), rng.random((9, 11)).round(1)
    valid[:4, :4] = 0
    got = residual_noise.trust(jnp.asarray(residual, jnp.float32), jnp.asarray(valid, jnp.float32), 0.02, 0.5)
    squared = (residual**2).mean(-1)
    for y, x in np.ndindex(9, 11):
        window = np.s_[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
        total = valid[window].sum()
        local = (valid * squared)[window].sum() / total if total else 0.0
        np.testing.assert_allclose(got[y, x], 0.02**2 / (0.02**2 + 0.5 * local), rtol=1e-4)


def test_noise_of_new_views_is_the_root_mean_square_of_what_is_there():
    residual = np.random.default_rng().normal(0, 0.1, (3, 50))
    residual[1, ::2] = np.nan
    want = np.sqrt(np.nanmean(residual**2))
    np.testing.assert_allclose(residual_noise.noise_of_new_views(jnp.asarray(residual, jnp.float32)), want, rtol=1e-5)
    assert float(residual_noise.noise_of_new_views(jnp.zeros(4), 0.01)) == float(jnp.float32(0.01))


def test_what_repeats_counts_once():
    """n views of one place tell no more than 1 / (noise^2 / n + misfit^2) together."""
    residual, valid, n = jnp.full((5, 5, 3), 0.2), jnp.ones((5, 5)), 10
    told = n * residual_noise.trust(residual, valid, 0.1, n) / 0.1**2
    np.testing.assert_allclose(told, 1 / (0.1**2 / n + 0.2**2), rtol=1e-5)


def test_a_perfect_fit_is_fully_trusted_and_garbage_outside_the_mask_is_ignored():
    residual = jnp.zeros((8, 8, 3)).at[:, 6:].set(jnp.nan)
    valid = jnp.ones((8, 8)).at[:, 6:].set(0.0)
    np.testing.assert_allclose(residual_noise.trust(residual, valid, 0.01), 1.0)
    np.testing.assert_allclose(residual_noise.trust(jnp.ones((8, 8, 3)), valid, 0.01, 0), 1.0)
