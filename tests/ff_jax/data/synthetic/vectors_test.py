"""Products and lengths of vectors against numpy, compiled."""

import jax
import numpy as np

from ff_jax.data.synthetic.vectors import dot, norm
from tests.random_inputs import seeded_rng


def test_dot_and_norm_match_numpy():
    rng = seeded_rng()
    a, b = rng.normal(size=(2, 3, 4, 1280)).astype(np.float32)
    np.testing.assert_allclose(jax.jit(dot)(a, b), np.einsum("ibr,ibr->br", a, b), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(jax.jit(norm)(a), np.linalg.norm(a, axis=0), rtol=1e-5)
    np.testing.assert_allclose(
        jax.jit(dot)(a, b[:, :1, :1]), np.einsum("ibr,i->br", a, b[:, 0, 0]), rtol=1e-4, atol=1e-5
    )


def test_directions_survive_next_to_their_inverse_lengths():
    a = seeded_rng().normal(size=(3, 4, 1280)).astype(np.float32) + 0.1
    unit, inverse = jax.jit(lambda a: (a / norm(a), 1.0 / norm(a)))(a)
    length = np.linalg.norm(a, axis=0)
    np.testing.assert_allclose(unit, a / length, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(inverse, 1.0 / length, rtol=1e-4)
