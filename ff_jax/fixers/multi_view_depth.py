"""Depth of recorded images by plane sweeping: measured points for logs without LiDAR.

Photometric training may explain a surface by Gaussians at a wrong depth, as long as the recorded views look right.
Here every pixel of a recorded image tries depths around the rendered one, and its neighborhood is compared with the
other recorded images by normalized cross-correlation (plane sweep, Collins 1996, doi 10.1109/CVPR.1996.517097), which
does not depend on exposure. A depth is kept where it is distinct and where the depths of other images confirm it.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float

from ff_jax.fixers.reprojection import AlignConfig, Views, smooth, warp
from ff_jax.runtime.settings import Settings, bounded

_GRAY = (0.299, 0.587, 0.114)
_BLIND = -1.0  # correlation of a source that does not see a point


@dataclasses.dataclass(frozen=True)
class SweepConfig(Settings):
    """How depths are tried and which are kept (hashable: a static argument).

    Attributes:
        num_depths: how many depths are tried.
        log_depth_span: depths are tried from exp(-span) to exp(span) times the rendered depth.
        radius: half-size of the compared windows, pixels.
        min_correlation: smallest correlation of a kept depth.
        min_margin: smallest difference to the correlation at clearly other depths.
        min_contrast: smallest standard deviation of the brightness in a window.
        tolerance: largest relative difference to the depth of another image that confirms a depth.
        confirmations: how many other images must confirm it.
    """

    num_depths: int = bounded(41, 1, 1024)
    log_depth_span: float = bounded(0.3, 0.0, 10.0)
    radius: int = bounded(3, 0, 256)
    min_correlation: float = bounded(0.8, -1.0, 1.0)
    min_margin: float = bounded(0.1, 0.0, 2.0)
    min_contrast: float = bounded(0.02, 0.0, 1.0)
    tolerance: float = bounded(0.015, 1e-6, 1e3)
    confirmations: int = bounded(2, 0, 1024)


@functools.partial(jax.jit, static_argnames=("config",))
def sweep_depth(view: Views, sources: Views, config: SweepConfig = SweepConfig()) -> Float[Array, "H W"]:
    """Measure the depth (camera z, meters) of one recorded image; 0 where it is not distinct.

    Args:
        view: the image with its rendered depth; arrays without a leading axis.
        sources: other recorded images with theirs.
        config: which depths are tried and kept.
    """
    factors = jnp.exp(jnp.linspace(-config.log_depth_span, config.log_depth_span, config.num_depths))
    gray = _gray(view.rgb)

    def correlation_at(factor: Float[Array, ""]) -> Float[Array, "H W"]:
        moved = dataclasses.replace(view, depth=factor * view.depth)
        correlations = lax.map(lambda source: _correlation(moved, gray, source, config), sources)
        # The better half: the others may be occluded there, or moved.
        return jnp.mean(jnp.sort(correlations, 0)[-max(len(correlations) // 2, 1) :], 0)

    scores = lax.map(correlation_at, factors)
    best = jnp.argmax(scores, 0)
    peak = jnp.max(scores, 0)
    distance = jnp.abs(jnp.arange(config.num_depths)[:, None, None] - best)
    others = jnp.max(jnp.where(distance > 3, scores, _BLIND), 0)
    is_distinct = (best > 0) & (best < config.num_depths - 1) & (peak >= config.min_correlation)
    is_distinct &= (peak - others >= config.min_margin) & (_deviation(gray, config.radius) >= config.min_contrast)
    log_step = 2 * config.log_depth_span / (config.num_depths - 1)
    depth = view.depth * factors[best] * jnp.exp(log_step * _parabola_offset(scores, best))
    return jnp.where(is_distinct, depth, 0.0)


@functools.partial(jax.jit, static_argnames=("config",))
def confirmed(
    depth: Float[Array, "H W"], view: Views, sources: Views, config: SweepConfig = SweepConfig()
) -> Bool[Array, "H W"]:
    """Find the pixels whose measured depth agrees with the measured depths of other images.

    Args:
        depth: of the view, from `sweep_depth`.
        view: its camera.
        sources: cameras of other images, with their measured depths (0 where there is none).
        config: the tolerance and the number of images.
    """
    align = AlignConfig(depth_tolerance=config.tolerance)
    measured = dataclasses.replace(view, depth=depth)
    agrees = lax.map(lambda source: warp(measured, source, align)[1] > 0.0, sources)
    return (depth > 0) & (agrees.sum(0) >= config.confirmations)


def _gray(rgb: Float[Array, "H W 3"]) -> Float[Array, "H W"]:
    return rgb @ jnp.array(_GRAY)


def _window_mean(image: Float[Array, "H W"], radius: int) -> Float[Array, "H W"]:
    return smooth(image[None, ..., None], radius)[0, ..., 0]


def _deviation(gray: Float[Array, "H W"], radius: int) -> Float[Array, "H W"]:
    mean = _window_mean(gray, radius)
    return jnp.sqrt(jnp.maximum(_window_mean(gray * gray, radius) - mean * mean, 0.0))


def _correlation(view: Views, gray: Float[Array, "H W"], source: Views, config: SweepConfig) -> Float[Array, "H W"]:
    """Compute the correlation of every window of the view with the image of a source; `_BLIND` where it is not seen."""
    colors, visibility = warp(view, source, AlignConfig())
    other, mean = _gray(colors), functools.partial(_window_mean, radius=config.radius)
    covariance = mean(gray * other) - mean(gray) * mean(other)
    deviations = _deviation(gray, config.radius) * _deviation(other, config.radius)
    return jnp.where(visibility > 0.0, covariance / jnp.maximum(deviations, 1e-5), _BLIND)


def _parabola_offset(scores: Float[Array, "D H W"], best: Array) -> Float[Array, "H W"]:
    """Find the maximum of the parabola through the best score and its neighbors, in steps from the best one."""
    below, peak, above = (
        jnp.take_along_axis(scores, jnp.clip(best + step, 0, len(scores) - 1)[None], 0)[0] for step in (-1, 0, 1)
    )
    curvature = below - 2 * peak + above
    return jnp.where(curvature < -1e-6, jnp.clip(0.5 * (below - above) / curvature, -0.5, 0.5), 0.0)
