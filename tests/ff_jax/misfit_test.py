"""How far a training pixel is trusted, given the residuals around it."""

import jax.numpy as jnp
import numpy as np

from ff_jax import misfit


def test_trust_equals_a_naive_window_mean():
    rng = np.random.default_rng()
    residual, valid = rng.normal(0, 0.1, (9, 11, 3)), rng.random((9, 11)).round(1)
    valid[:4, :4] = 0
    got = misfit.trust(jnp.asarray(residual, jnp.float32), jnp.asarray(valid, jnp.float32), 0.02, 0.5)
    squared = (residual**2).mean(-1)
    for y, x in np.ndindex(9, 11):
        window = np.s_[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
        total = valid[window].sum()
        local = (valid * squared)[window].sum() / total if total else 0.0
        np.testing.assert_allclose(got[y, x], 0.02**2 / (0.02**2 + 0.5 * local), rtol=1e-4)


def test_a_perfect_fit_is_fully_trusted_and_garbage_outside_the_mask_is_ignored():
    residual = jnp.zeros((8, 8, 3)).at[:, 6:].set(jnp.nan)
    valid = jnp.ones((8, 8)).at[:, 6:].set(0.0)
    np.testing.assert_allclose(misfit.trust(residual, valid, 0.01), 1.0)
    np.testing.assert_allclose(misfit.trust(jnp.ones((8, 8, 3)), valid, 0.01, 0), 1.0)
