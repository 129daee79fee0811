"""Expected information gain, in nats, from the 3x3 color covariance of a pixel."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Float

MODES = ("exact", "trace")


def eig_of_covariance(
    M: Float[Array, "*n 6"],
    alpha: Float[Array, "*n"],
    noise_var: Float[ArrayLike, "*map"],
    background_var: Float[ArrayLike, "*background"],
    mode: str,
) -> Float[Array, "*n"]:
    """Compute the EIG (nats) of observing pixels of color covariance M + (1 - alpha)^2 background_var I.

    exact: log det(I + cov / noise_var) / 2;  trace: tr(cov) / (2 noise_var), never smaller.

    Args:
        M: packed upper triangles (rr, rg, rb, gg, gb, bb) of the covariance caused by the Gaussians.
        alpha: accumulated opacity.
        noise_var: variance of one observed color channel; one number, or one per pixel.
        background_var: variance of one channel of the background color; one number, or one per pixel.
        mode: "exact" or "trace".
    """
    beyond = (1 - alpha) ** 2 * background_var
    rr, rg, rb, gg, gb, bb = jnp.moveaxis(M, -1, 0) / noise_var
    rr, gg, bb = (x + beyond / noise_var for x in (rr, gg, bb))
    if mode == "trace":
        return 0.5 * (rr + gg + bb)
    # Cholesky pivots of I + M are 1 + (a number >= 0): log1p of that number keeps small values exact, and no
    # product of three large entries is formed. Rounding can push it below 0 by an epsilon of its terms.
    second = jnp.maximum(gg - rg * rg / (1 + rr), 0.0)
    mixed = gb - rg * rb / (1 + rr)
    third = jnp.maximum(bb - rb * rb / (1 + rr) - mixed * mixed / (1 + second), 0.0)
    return 0.5 * (jnp.log1p(rr) + jnp.log1p(second) + jnp.log1p(third))
