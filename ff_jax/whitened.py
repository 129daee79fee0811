"""Posterior factors of many small blocks in float32, over a huge range of precisions.

In units of the prior's standard deviations the posterior precision is I + A with A >= 0 from the data.
Directions that no view constrains have an eigenvalue 0 of A next to others of 1e8 and more, far below what
float32 keeps of A. Two things make the result right nonetheless: a Cholesky pivot of I + A is never below 1, so a
pivot lost in the rounding noise of A is set to 1 (the prior; the error is towards "not known"), and the covariance
is kept as a factor, so that projecting it to the image never subtracts large numbers.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from kernels.fisher.gain import pack, unpack

_NOISE = 8 * 2.0**-23  # relative rounding noise of a diagonal entry of A: a few products and sums of float32
_BATCH = 8192  # blocks factored at a time, which bounds the memory


def posterior_factors(
    precision: Float[Array, "N packed"], std: Float[Array, "N d"]
) -> Float[Array, "N packed"]:
    """Return upper triangular F with F F^T = (data precision + diag(std)^-2)^-1.

    Args:
        precision: what the data say, row-major upper triangles; rounding may have made it indefinite.
        std: standard deviations of the prior.

    Returns:
        Row-major upper triangles of F.
    """
    size = std.shape[-1]

    def one_block(precision: Float[Array, "packed"], std: Float[Array, "d"]) -> Float[Array, "packed"]:
        inverse = inverse_cholesky(unpack(precision, size) * std[:, None] * std)
        return pack(std[:, None] * inverse.T)

    if precision.shape[0] == 0:
        return precision
    return lax.map(lambda block: one_block(*block), (precision, std), batch_size=_BATCH)


def inverse_cholesky(A: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Return the lower triangular inverse X of the Cholesky factor of I + A: X^T X = (I + A)^-1."""
    size = A.shape[0]
    floor = _NOISE * jnp.abs(jnp.diagonal(A))
    index = jnp.arange(size)

    def eliminate(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        rest, X = carry
        known = rest[k, k]
        root = jnp.sqrt(1 + jnp.where(known > floor[k], known, 0.0))
        column = jnp.where(index > k, rest[:, k], 0.0) / root
        row = X[k] / root
        X = jnp.where((index == k)[:, None], row, X - column[:, None] * row)
        return rest - column[:, None] * column, X

    return lax.fori_loop(0, size, eliminate, (A, jnp.eye(size, dtype=A.dtype)))[1]


def diagonal_factors(
    precision: Float[Array, "N packed"], std: Float[Array, "N d"]
) -> Float[Array, "N packed"]:
    """Return F as `posterior_factors` does, but from the diagonal of the data precision alone."""
    diagonal = jnp.cumsum(jnp.arange(std.shape[-1], 0, -1)) - jnp.arange(std.shape[-1], 0, -1)
    known = jnp.maximum(precision[:, diagonal], 0.0) * std * std
    return jnp.zeros_like(precision).at[:, diagonal].set(std * jax.lax.rsqrt(1 + known))


def upper(packed: Float[Array, "N packed"], size: int) -> Float[Array, "N size size"]:
    """Return the upper triangular matrices whose row-major entries are `packed`."""
    return jnp.triu(unpack(packed, size))
