"""Posterior factors in float32 against float64, with directions that no view constrains."""

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.eig.block_posterior import diagonal_factors, posterior_factors
from kernels import pack_symmetric, unpack_symmetric
from tests.random_inputs import seeded_rng


def factor_of(precision, std, factors):
    """Factor in float32; return float64."""
    return np.asarray(factors(pack_symmetric(jnp.asarray(precision, jnp.float32)), std), np.float64)


@pytest.mark.parametrize("size", [1, 4, 10])
def test_factor_is_that_of_the_inverse(size):
    rng = seeded_rng()
    root = rng.normal(size=(30, size, size + 3))
    precision = root @ root.transpose(0, 2, 1)
    std = np.exp(rng.normal(size=(30, size)))
    factor = factor_of(precision, jnp.asarray(std, jnp.float32), posterior_factors)
    expected = np.linalg.inv(precision + std[:, :, None] ** -2 * np.eye(size))
    np.testing.assert_allclose(factor @ factor.transpose(0, 2, 1), expected, rtol=1e-3, atol=1e-5)
    diagonal = factor_of(precision, jnp.asarray(std, jnp.float32), diagonal_factors)
    expected = 1 / (np.diagonal(precision, axis1=1, axis2=2) + std**-2)
    np.testing.assert_allclose(np.diagonal(diagonal, axis1=1, axis2=2) ** 2, expected, rtol=1e-5)
    assert not (diagonal * (1 - np.eye(size))).any()


@pytest.mark.slow
@pytest.mark.parametrize("strength", [1e2, 1e5, 1e8, 1e11])
def test_directions_without_data_keep_their_prior(strength):
    """The data constrain six of ten directions `strength` times more than the prior, and four not at all."""
    rng = seeded_rng()
    axes = np.linalg.qr(rng.normal(size=(50, 10, 10)))[0]
    strengths = strength * rng.uniform(0.3, 3, (50, 6, 1))
    precision = np.einsum("nki,nkj->nij", axes[:, :6] * strengths, axes[:, :6])
    precision = np.asarray(precision, np.float32)
    factor = factor_of(precision, jnp.ones((50, 10)), posterior_factors)
    free = np.linalg.norm(np.einsum("nki,nij->nkj", axes[:, 6:], factor), axis=-1)
    # In one of a thousand cases rounding errors count as weak data.
    assert (free > 0.5).all() and (free < 1.001).all() and np.mean(free > 0.999) > 0.97
    constrained = np.linalg.norm(np.einsum("nki,nij->nkj", axes[:, :6], factor), axis=-1)
    np.testing.assert_allclose(constrained**2 * (1 + strengths[..., 0]), 1, atol=5e-2)


def test_pack_and_unpack_are_inverse():
    packed = jnp.asarray(seeded_rng().normal(size=(3, 21)), jnp.float32)
    matrix = unpack_symmetric(packed, 6)
    np.testing.assert_array_equal(matrix, matrix.swapaxes(-1, -2))
    np.testing.assert_array_equal(pack_symmetric(matrix), packed)
    assert posterior_factors(jnp.zeros((0, 21)), jnp.ones((0, 6))).shape == (0, 6, 6)
