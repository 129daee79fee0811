"""Observation noise, and information weights per pixel, from the residuals of the training views.

The noise is one number, the robust spread of all residuals: that of road and sky, which fill most of an image.
Elsewhere (fine facades, foliage, edges) residuals are larger, and those of neighboring pixels and successive views
have the same cause. Treating each as an independent measurement of precision 1 / noise^2 would make the posterior
overconfident. The mean of n views of one place has the variance noise^2 / n + m^2, where m^2 is the local mean squared
residual (White 1980, doi 10.2307/1912934, uses local residuals as variances) and does not decrease with n. So each of
the n views contributes the information 1 / (noise^2 + n m^2).

The noise of a new view is the root mean square of all residuals.
"""

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import ArrayLike, Float

_FLOOR = 1e-3  # smallest noise; the quantization of 8-bit images is about a quarter of a level
RADIUS = 2  # pixels: half-size of the window over which residuals are averaged


def information_weight(
    residual: Float[Array, "H W 3"],
    valid: Float[Array, "H W"],
    noise: Float[ArrayLike, ""],
    correlated_views: Float[ArrayLike, ""] | float | int = 1.0,
) -> Float[Array, "H W"]:
    """Compute noise^2 / (noise^2 + correlated_views * local mean squared residual), in (0, 1].

    It is the `weight` of `eig.accumulate`.

    Args:
        residual: image - render of a training view.
        valid: per pixel in [0, 1]; residuals of pixels of weight 0 are not averaged.
        noise: standard deviation of one channel where the scene model is right.
        correlated_views: number of views that share one residual; 0 gives all pixels the weight 1.
    """
    squared = jnp.where(valid > 0, jnp.mean(residual**2, -1), 0.0)
    local = _window_sum(valid * squared) / jnp.maximum(_window_sum(valid), 1e-6)
    return jnp.square(noise) / (jnp.square(noise) + correlated_views * local)


def noise_from_residuals(residuals: Float[Array, "..."]) -> Float[Array, ""]:
    """Estimate the standard deviation of the noise from residuals of observed views; NaN entries are ignored.

    1.4826 times the median absolute deviation (Huber 1981, Robust Statistics, 5.1): errors of the
    scene model are in the tails and do not count as noise.

    Args:
        residuals: image - render, any shape.
    """
    center = jnp.nanmedian(residuals)
    return _known(1.4826 * jnp.nanmedian(jnp.abs(residuals - center)))


def noise_of_new_views(residuals: Float[Array, "..."]) -> Float[Array, ""]:
    """Estimate the standard deviation of one channel of a new view around its render.

    Args:
        residuals: image - render of training views, any shape; NaN entries are ignored.
    """
    return _known(jnp.sqrt(jnp.nanmean(residuals**2)))


def _known(noise: Float[Array, ""]) -> Float[Array, ""]:
    """Bound a noise from below; without any residual (all pixels are masked) it is 1, the range of colors.

    NaN times a weight of 0 would be NaN in the information of every Gaussian.
    """
    return jnp.where(jnp.isnan(noise), 1.0, jnp.maximum(noise, _FLOOR))


def _window_sum(values: Float[Array, "H W"]) -> Float[Array, "H W"]:
    size = 2 * RADIUS + 1
    return lax.reduce_window(values, 0.0, lax.add, (size, size), (1, 1), "SAME")
