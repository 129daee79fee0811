"""Noise that differs from pixel to pixel: what a scene could not explain in its own training views is not known.

The noise of the posterior is one number, the robust spread of all residuals: that of the road and the sky, which
fill most of an image. Where the scene misses its training images by more (fine facades, foliage, edges), residuals
of neighbouring pixels and of successive views share their cause, and taking each for an independent measurement of
precision 1 / noise^2 makes the posterior far too sure. So a pixel's own variance is noise^2 plus the mean squared
residual around it (White 1980, doi 10.2307/1912934, for the idea of local residuals as variances).
"""

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import ArrayLike, Float

RADIUS = 2  # pixels: half-size of the window over which residuals are averaged


def trust(
    residual: Float[Array, "H W 3"],
    valid: Float[Array, "H W"],
    noise: Float[ArrayLike, ""],
    share: Float[ArrayLike, ""] | float | int = 1.0,
) -> Float[Array, "H W"]:
    """Return noise^2 / (noise^2 + share * local mean squared residual), in (0, 1]: a weight for `eig.accumulate`.

    Args:
        residual: image - render of a training view.
        valid: per pixel in [0, 1]; pixels of weight 0 lend their residual to nobody.
        noise: standard deviation of one channel where nothing is missed.
        share: of the squared residual that counts; 0 trusts all pixels alike.
    """
    squared = jnp.where(valid > 0, jnp.mean(residual**2, -1), 0.0)
    local = _window_sum(valid * squared) / jnp.maximum(_window_sum(valid), 1e-6)
    return jnp.square(noise) / (jnp.square(noise) + share * local)


def _window_sum(values: Float[Array, "H W"]) -> Float[Array, "H W"]:
    size = 2 * RADIUS + 1
    return lax.reduce_window(values, 0.0, lax.add, (size, size), (1, 1), "SAME")
