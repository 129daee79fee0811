"""Bring real images into a rendered view: re-project them with the rendered depth.

A lateral shift moves near things by many pixels, so a recorded image says little about a shifted view until it is
warped. Depth comes from the reconstruction itself; where it is wrong, or something hides the point from the
recording camera, the depths of the two views disagree, or the colours do, and that source is left out.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Bool, Float, Int

_SKY_DEPTH = 1e4  # metres; far enough to see no parallax


@dataclasses.dataclass(frozen=True)
class AlignConfig:
    """How sources are chosen and merged (hashable: a static argument).

    Attributes:
        sources: recorded images per rendered view: the nearest in time.
        depth_tolerance: largest relative difference between the depth of a point and what its source sees there.
        agreement: colour difference from the render at which a source counts 1/e of one that agrees.
        radius: half-size of the window over which colours are compared, pixels.
    """

    sources: int = 9
    depth_tolerance: float = 0.3
    agreement: float = 0.055
    radius: int = 2


@struct.dataclass
class Views:
    """Images with the depth that the reconstruction sees in them, and their cameras."""

    rgb: Float[Array, "T H W 3"]  # colours in [0, 1]: renders, or recorded images for sources
    depth: Float[Array, "T H W"]  # camera z, metres: see `expected_depth`
    K: Float[Array, "T 3 3"]  # pixels
    camera_from_world: Float[Array, "T 4 4"]  # metres, OpenCV axes


def expected_depth(depth: Float[Array, "*T H W"], alpha: Float[Array, "*T H W"]) -> Float[Array, "*T H W"]:
    """Return camera z (metres) from accumulated depth and opacity; sky, where opacity is below 1/2, is far away."""
    return jnp.where(alpha > 0.5, depth / jnp.maximum(alpha, 0.5), _SKY_DEPTH)


def nearest_sources(
    times: Float[np.ndarray, "T"], source_times: Float[np.ndarray, "S"], count: int
) -> Int[np.ndarray, "T k"]:
    """Return the indices of the `count` sources (all, if there are fewer) nearest in time to every view."""
    distance = np.abs(np.asarray(source_times)[None] - np.asarray(times)[:, None])
    return np.argsort(distance, 1, kind="stable")[:, :count]


@functools.partial(jax.jit, static_argnames=("config",))
def align(
    views: Views, sources: Views, nearest: Int[Array, "T k"], config: AlignConfig = AlignConfig()
) -> Float[Array, "T H W 3"]:
    """Return for every view what real images show at its pixels, and the render itself where none shows anything.

    Args:
        views: rendered views.
        sources: recorded images with the depth rendered at their poses.
        nearest: which sources each view uses, from `nearest_sources`.
        config: how sources are merged.
    """

    def one(inputs: tuple[Views, Array]) -> Float[Array, "H W 3"]:
        view, chosen = inputs
        picked = jax.tree.map(lambda x: x[chosen], sources)
        colors, seen = jax.vmap(functools.partial(_warp, config=config), (None, 0))(view, picked)
        difference = _smooth(jnp.square(_smooth(colors, 1) - view.rgb).mean(-1, keepdims=True), config.radius)
        # The small constant keeps sources that all disagree: better a doubtful real image than a blank.
        weight = seen[..., None] * (jnp.exp(-difference / config.agreement**2) + 1e-6)
        merged = jnp.sum(weight * colors, 0) / jnp.maximum(jnp.sum(weight, 0), 1e-12)
        return jnp.where(seen.any(0)[..., None], merged, view.rgb)

    return lax.map(one, (views, jnp.asarray(nearest)))


def _warp(view: Views, source: Views, config: AlignConfig) -> tuple[Float[Array, "H W 3"], Bool[Array, "H W"]]:
    """Return the source's colour at the scene point of every pixel of `view`, and whether it sees that point."""
    height, width = view.depth.shape
    x, y = jnp.meshgrid(jnp.arange(width) + 0.5, jnp.arange(height) + 0.5)
    rays = jnp.stack([x, y, jnp.ones_like(x)], -1) @ jnp.linalg.inv(view.K).T
    source_from_view = source.camera_from_world @ jnp.linalg.inv(view.camera_from_world)
    points = (view.depth[..., None] * rays) @ source_from_view[:3, :3].T + source_from_view[:3, 3]
    z = points[..., 2]
    pixels = (points @ source.K.T)[..., :2] / jnp.maximum(z, 1e-3)[..., None]
    places = [pixels[..., 1] - 0.5, pixels[..., 0] - 0.5]  # rows, columns of pixel centres
    sample = lambda image: map_coordinates(image, places, 1, mode="nearest")
    colors = jax.vmap(sample, -1, -1)(source.rgb)
    inside = (z > 0.0) & (pixels >= 0.0).all(-1) & (pixels <= jnp.array([width, height])).all(-1)
    return colors, inside & (jnp.abs(sample(source.depth) - z) < config.depth_tolerance * z)


def _smooth(x: Float[Array, "n H W C"], radius: int) -> Float[Array, "n H W C"]:
    size = 2 * radius + 1
    padded = jnp.pad(x, ((0, 0), (radius, radius), (radius, radius), (0, 0)), "edge")
    return lax.reduce_window(padded, 0.0, lax.add, (1, size, size, 1), (1, 1, 1, 1), "VALID") / size**2
