"""Bring real images into a rendered view: re-project them with the rendered depth, corrected by a plane sweep.

A lateral shift moves near things by many pixels, so a recorded image says little about a shifted view until it is
warped. Depth comes from the reconstruction itself, which is off where the recorded views left it open: every pixel
therefore tries a few depths around the rendered one and keeps those at which the recorded images agree best with
each other and with the render (plane sweep, Collins 1996, doi 10.1109/CVPR.1996.517097). Where they agree at no
depth, the render stays. A source that sees something else in front of the point, or another colour, counts little.
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

from ff_jax.render.camera import invert_rigid

_SKY_DEPTH = 1e4  # metres; far enough to see no parallax
_NO_AGREEMENT = 1e3  # cost of a depth at which fewer than two sources see the point: above any other, still finite


@dataclasses.dataclass(frozen=True)
class AlignConfig:
    """How sources are chosen and merged (hashable: a static argument).

    Attributes:
        sources: recorded images per rendered view: the nearest in time.
        depth_tolerance: largest relative difference between the depth of a point and what its source sees there.
        agreement: colour difference from the render at which a source counts 1/e of one that agrees.
        radius: half-size of the window over which colours are compared, pixels.
        depths: how many depths are tried.
        span: the farthest of them lie at exp(-span) and exp(span) of the rendered depth.
        window: half-size of the window over which agreement is judged, pixels.
        closeness: weight of the squared distance from the render against the variance among the sources.
        temperature: difference in that cost at which one depth counts 1/e of another.
        trust: cost of the best depth at which the render takes over to 1 - 1/e.
    """

    sources: int = 9
    depth_tolerance: float = 0.3
    agreement: float = 0.055
    radius: int = 2
    depths: int = 7
    span: float = 0.2
    window: int = 3
    closeness: float = 0.3
    temperature: float = 5e-4
    trust: float = 4e-3


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
    times: Float[np.ndarray, "T"], source_times: Float[np.ndarray, "S"], count: int, skip: int = 0
) -> Int[np.ndarray, "T k"]:
    """Return the indices of the `count` sources (all, if there are fewer) nearest in time to every view.

    Args:
        times: of the views, seconds.
        source_times: of the sources, seconds.
        count: how many.
        skip: leave out this many of the very nearest.
    """
    distance = np.abs(np.asarray(source_times)[None] - np.asarray(times)[:, None])
    return np.argsort(distance, 1, kind="stable")[:, skip : skip + count]


@functools.partial(jax.jit, static_argnames=("config",))
def align(
    views: Views, sources: Views, nearest: Int[Array, "T k"], config: AlignConfig = AlignConfig()
) -> Float[Array, "T H W 3"]:
    """Return for every view what real images show at its pixels, and the render itself where they do not agree.

    Agreement takes two sources: a pixel that fewer see keeps the render.

    Args:
        views: rendered views.
        sources: recorded images with the depth rendered at their poses.
        nearest: which sources each view uses, from `nearest_sources`.
        config: how sources are merged.
    """
    factors = jnp.exp(jnp.linspace(-config.span, config.span, config.depths))

    def one(inputs: tuple[Views, Array]) -> Float[Array, "H W 3"]:
        view, chosen = inputs
        picked = jax.tree.map(lambda x: x[chosen], sources)
        tried = lambda factor: _merged(view.replace(depth=factor * view.depth), picked, config)
        merged, cost = lax.map(tried, factors)
        share = jax.nn.softmax(-cost / config.temperature, 0)
        trust = jnp.exp(-jnp.min(cost, 0) / config.trust)[..., None]
        return view.rgb + trust * (jnp.sum(share[..., None] * merged, 0) - view.rgb)

    return lax.map(one, (views, jnp.asarray(nearest)))


def _merged(view: Views, sources: Views, config: AlignConfig) -> tuple[Float[Array, "H W 3"], Float[Array, "H W"]]:
    """Return the mean colour that the sources see at the depth of `view`, and how badly they agree on it."""
    colors, seen = jax.vmap(functools.partial(_warp, config=config), (None, 0))(view, sources)
    difference = _smooth(
        jnp.square(_smooth(colors, config.radius // 2) - view.rgb).mean(-1, keepdims=True), config.radius
    )
    # The small constant keeps sources that are all unlike the render: it may be the render that is wrong.
    weight = seen[..., None] * (jnp.exp(-difference / config.agreement**2) + 1e-6)
    weight = weight / jnp.maximum(jnp.sum(weight, 0), 1e-12)
    mean = jnp.sum(weight * colors, 0)
    variance = jnp.sum(weight * jnp.square(colors - mean), 0)
    cost = (variance + config.closeness * jnp.square(mean - view.rgb)).mean(-1, keepdims=True)
    cost = _smooth(cost[None], config.window)[0, ..., 0]
    return mean, jnp.where(seen.sum(0) >= 2, cost, _NO_AGREEMENT)


def _warp(view: Views, source: Views, config: AlignConfig) -> tuple[Float[Array, "H W 3"], Bool[Array, "H W"]]:
    """Return the source's colour at the scene point of every pixel of `view`, and whether it sees that point."""
    times = functools.partial(jnp.matmul, precision="highest")
    height, width = view.depth.shape
    x, y = jnp.meshgrid(jnp.arange(width) + 0.5, jnp.arange(height) + 0.5)
    rays = times(jnp.stack([x, y, jnp.ones_like(x)], -1), jnp.linalg.inv(view.K).T)
    source_from_view = times(source.camera_from_world, invert_rigid(view.camera_from_world))
    points = times(view.depth[..., None] * rays, source_from_view[:3, :3].T) + source_from_view[:3, 3]
    z = points[..., 2]
    pixels = times(points, source.K.T)[..., :2] / jnp.maximum(z, 1e-3)[..., None]
    places = [pixels[..., 1] - 0.5, pixels[..., 0] - 0.5]  # rows, columns of pixel centres
    sample = lambda image: map_coordinates(image, places, 1, mode="nearest")
    colors = jax.vmap(sample, -1, -1)(source.rgb)
    inside = (z > 0.0) & (pixels >= 0.0).all(-1) & (pixels <= jnp.array([width, height])).all(-1)
    return colors, inside & (jnp.abs(sample(source.depth) - z) < config.depth_tolerance * z)


def _smooth(x: Float[Array, "n H W C"], radius: int) -> Float[Array, "n H W C"]:
    size = 2 * radius + 1
    padded = jnp.pad(x, ((0, 0), (radius, radius), (radius, radius), (0, 0)), "edge")
    return lax.reduce_window(padded, 0.0, lax.add, (1, size, size, 1), (1, 1, 1, 1), "VALID") / size**2
