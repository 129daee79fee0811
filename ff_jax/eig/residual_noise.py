"""Noise that differs from pixel to pixel: what a scene could not explain in its own training views is not known.

The noise of the posterior is one number, the robust spread of all residuals: that of the road and the sky, which
fill most of an image. Where the scene misses its training images by more (fine facades, foliage, edges), residuals
of neighbouring pixels and of successive views share their cause, and taking each for an independent measurement of
precision 1 / noise^2 makes the posterior far too sure. The mean of n views of one place is off by noise^2 / n plus the
whole mean squared residual m^2 around it (White 1980, doi 10.2307/1912934, for the idea of local residuals as
variances), which no further view takes away: each of the n views tells 1 / (noise^2 + n m^2).

A view that is yet to be taken is missed in the same way: its noise is the root mean square of all residuals.
"""

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import ArrayLike, Float

RADIUS = 2  # pixels: half-size of the window over which residuals are averaged


def trust(
    residual: Float[Array, "H W 3"],
    valid: Float[Array, "H W"],
    noise: Float[ArrayLike, ""],
    repeats: Float[ArrayLike, ""] | float | int = 1.0,
) -> Float[Array, "H W"]:
    """Return noise^2 / (noise^2 + repeats * local mean squared residual), in (0, 1]: a weight for `eig.accumulate`.

    Args:
        residual: image - render of a training view.
        valid: per pixel in [0, 1]; pixels of weight 0 lend their residual to nobody.
        noise: standard deviation of one channel where nothing is missed.
        repeats: views that miss the same place in the same way; 0 trusts all pixels alike.
    """
    squared = jnp.where(valid > 0, jnp.mean(residual**2, -1), 0.0)
    local = _window_sum(valid * squared) / jnp.maximum(_window_sum(valid), 1e-6)
    return jnp.square(noise) / (jnp.square(noise) + repeats * local)


def noise_of_new_views(residuals: Float[Array, "..."], floor: float = 1e-3) -> Float[Array, ""]:
    """Return the standard deviation of a channel of a view yet to be taken about what the scene can show of it.

    Args:
        residuals: image - render of training views, any shape; NaN entries are ignored.
        floor: smallest value returned.
    """
    return jnp.maximum(jnp.sqrt(jnp.nanmean(residuals**2)), floor)


def _window_sum(values: Float[Array, "H W"]) -> Float[Array, "H W"]:
    size = 2 * RADIUS + 1
    return lax.reduce_window(values, 0.0, lax.add, (size, size), (1, 1), "SAME")
