"""Posterior factors of many small blocks in float32, over a large range of precisions.

In units of the prior's standard deviations the posterior precision is I + A, where A >= 0 comes from the data.
Directions that no view constrains have an eigenvalue 0 of A beside others of 1e8 and more. In float32 the identity is
lost in I + A, and its Cholesky factorization fails. Therefore the identity is never added to A. A pivoted Cholesky
factorization A = R^T R stops at the rounding noise of A (the rest counts as unobserved). The QR factor T of R stacked
on I has T^T T = I + A, with ratios of 1e4 instead of 1e8. The covariance is stored as the factor T^-1, so that
projecting it to an image never subtracts large numbers.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from kernels import unpack_symmetric

_NOISE = 8 * 2.0**-23  # relative rounding noise of a diagonal entry of A: a few products and sums of float32
# Number of blocks per batch, which bounds the memory: they fit into the cache of a CPU, or keep other devices busy.
_BATCH_ON_CPU, _BATCH = 1 << 12, 1 << 17


def posterior_factors(precision: Float[Array, "N packed"], std: Float[Array, "N d"]) -> Float[Array, "N d d"]:
    """Compute F with F F^T = (data precision + diag(std)^-2)^-1.

    Args:
        precision: of the data, row-major upper triangles; rounding may have made it indefinite.
        std: standard deviations of the prior.
    """
    size = std.shape[-1]

    def one_block(block: tuple[Float[Array, "packed"], Float[Array, "d"]]) -> Float[Array, "d d"]:
        precision, std = block
        R = data_root(unpack_symmetric(precision, size) * std[:, None] * std)
        return std[:, None] * inverse_of_upper(qr_with_identity(R))

    if precision.shape[0] == 0:
        return jnp.zeros((0, size, size))
    batch = _BATCH_ON_CPU if jax.default_backend() == "cpu" else _BATCH
    return lax.map(one_block, (precision, std), batch_size=batch)


def diagonal_factors(precision: Float[Array, "N packed"], std: Float[Array, "N d"]) -> Float[Array, "N d d"]:
    """Compute F as `posterior_factors` does, but from the diagonal of the data precision alone."""
    size = std.shape[-1]
    data = jnp.maximum(jnp.diagonal(unpack_symmetric(precision, size), axis1=-2, axis2=-1), 0.0) * std * std
    return (std * lax.rsqrt(1 + data))[..., None] * jnp.eye(size)


def data_root(A: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Compute R with R^T R = A up to the rounding noise of A (Cholesky with diagonal pivoting)."""
    size = A.shape[0]
    diagonal, index = jnp.diagonal(A), jnp.arange(size)

    def eliminate(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        rest, R = carry
        pivots = jnp.where(jnp.diagonal(rest) > _NOISE * diagonal, jnp.diagonal(rest), 0.0)
        pivot = (index == jnp.argmax(pivots)) & (pivots > 0)
        row = jnp.sum(jnp.where(pivot[:, None], rest, 0.0), 0)
        row = row * lax.rsqrt(jnp.maximum(jnp.sum(jnp.where(pivot, pivots, 0.0)), 1e-30))
        rest = rest - row[:, None] * row
        rest = jnp.where(pivot[:, None] | pivot, 0.0, rest)  # only rounding errors remain there
        return rest, R.at[k].set(row)

    return lax.fori_loop(0, size, eliminate, (A, jnp.zeros_like(A)))[1]


def qr_with_identity(R: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Compute the upper triangular T with T^T T = I + R^T R (Householder reflections of R on top of I)."""
    size = R.shape[0]
    index = jnp.arange(2 * size)

    def reflect(k: Array, M: Float[Array, "rows d"]) -> Float[Array, "2*d d"]:
        x = jnp.where(index >= k, M[:, k], 0.0)
        length = jnp.sqrt(jnp.sum(x * x))
        v = x + jnp.where(index == k, jnp.where(x[k] < 0, -length, length), 0.0)
        return M - v[:, None] * (2 / jnp.sum(v * v) * jnp.sum(v[:, None] * M, 0))

    T = lax.fori_loop(0, size, reflect, jnp.concatenate([R, jnp.eye(size, dtype=R.dtype)]))[:size]
    return jnp.triu(T)


def inverse_of_upper(T: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Invert an upper triangular matrix by back substitution."""
    size = T.shape[0]

    def substitute(step: Array, X: Float[Array, "d d"]) -> Float[Array, "d d"]:
        k = size - 1 - step
        row = (jnp.arange(size) == k) - jnp.sum(T[k][:, None] * X, 0)  # rows of X from k up are still 0
        return X.at[k].set(row / T[k, k])

    return lax.fori_loop(0, size, substitute, jnp.zeros_like(T))
