"""Products and lengths of component-major vectors (3, ...)."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def dot(a: Float[Array, "3 ..."], b: Float[Array, "3 ..."]) -> Float[Array, "..."]:
    """Compute the inner product over the leading axis.

    Written out as three terms, which fuse with the surrounding code: the CPU backend of jaxlib 0.11 miscompiles a
    reduction followed by a square root and two divisions by it (x / |x| next to 1 / |x|).
    """
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def norm(a: Float[Array, "3 ..."]) -> Float[Array, "..."]:
    """Compute the length over the leading axis."""
    return jnp.sqrt(dot(a, a))
