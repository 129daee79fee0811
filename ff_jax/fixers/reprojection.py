"""Re-project recorded images into a rendered view, with the rendered depth corrected by a plane sweep.

A lateral shift of the camera moves near objects by many pixels. A recorded image is a useful reference of a shifted
view only after it is warped. The depth comes from the reconstruction and is wrong where the recorded views do not
determine it. Every pixel therefore tries several depths around the rendered one, and weights them by how well the
recorded images agree with each other and with the render (plane sweep, Collins 1996, doi 10.1109/CVPR.1996.517097).
`align` merges the recorded images to one, and keeps the render where they agree at no depth. A source that sees another
surface in front of the point, or another color, gets a small weight. `align_each` also keeps the nearest sources apart,
so that a network can choose among them.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Float, Int

from ff_jax.render.camera import invert_rigid
from ff_jax.runtime.settings import Settings, bounded

_GRID = 16  # every n-th row and column of a view is enough to tell which sources see it
_MIN_SHARE = 0.2  # of the pixels of a view: a source that sees less is of little use
_NO_AGREEMENT = 1e3  # cost where fewer than two sources see the point: above any other cost, still finite


@dataclasses.dataclass(frozen=True)
class AlignConfig(Settings):
    """How sources are selected and merged (hashable: a static argument).

    Attributes:
        num_sources: recorded images per rendered view: the nearest in time that see it (`nearest_sources`).
        num_apart: how many of them `align_each` also returns one by one.
        depth_tolerance: largest relative difference between the depth of a point and the source's depth there.
        color_scale: color difference from the render at which the weight of a source falls to 1/e.
        color_radius: half-size of the window over which colors are compared, pixels.
        num_depths: how many depths are tried.
        log_depth_span: depths are tried from exp(-span) to exp(span) times the rendered depth.
        cost_radius: half-size of the window over which the cost of a depth is averaged, pixels.
        render_weight: weight of the squared distance from the render relative to the variance among the sources.
        temperature: difference in cost at which the weight of a depth falls to 1/e.
        cost_scale: cost of the best depth at which the weight of the sources falls to 1/e.
    """

    num_sources: int = bounded(9, 1, 1024)
    num_apart: int = bounded(4, 0, 1024)
    depth_tolerance: float = bounded(0.3, 1e-6, 1e3)
    color_scale: float = bounded(0.055, 1e-6, 1e3)
    color_radius: int = bounded(2, 0, 256)
    num_depths: int = bounded(7, 1, 1024)
    log_depth_span: float = bounded(0.2, 0.0, 10.0)
    cost_radius: int = bounded(3, 0, 256)
    render_weight: float = bounded(0.3, 0.0, 1e6)
    temperature: float = bounded(5e-4, 1e-9, 1e3)
    cost_scale: float = bounded(4e-3, 1e-9, 1e3)


@struct.dataclass
class Views:
    """Images with their rendered depth and their cameras."""

    rgb: Float[Array, "T H W 3"]  # colors in [0, 1]: renders, or recorded images for sources
    depth: Float[Array, "T H W"]  # camera z, meters: see `render.renderer.expected_depth`
    K: Float[Array, "T 3 3"]  # pixels
    camera_from_world: Float[Array, "T 4 4"]  # meters, OpenCV axes


def nearest_sources(
    times: Float[np.ndarray, "T"],
    source_times: Float[np.ndarray, "S"],
    count: int,
    skip: int = 0,
    shares: Float[np.ndarray, "T S"] | None = None,
) -> Int[np.ndarray, "T k"]:
    """Select the `count` sources (all, if there are fewer) nearest in time to every view.

    Args:
        times: of the views, seconds.
        source_times: of the sources, seconds.
        count: number of sources per view.
        skip: number of the very nearest sources to leave out.
        shares: of the pixels of a view that each source sees (`seen_shares`); sources that see little of a view come
            after all others. None: they all see it.

    Returns:
        Indices of the sources, nearest first.
    """
    distance = np.abs(np.asarray(source_times)[None] - np.asarray(times)[:, None])
    sees_little = np.zeros(distance.shape, bool) if shares is None else shares < _MIN_SHARE
    return np.lexsort((distance, sees_little), axis=1)[:, skip : skip + count]


def seen_shares(
    depth: Float[np.ndarray, "H W"],
    camera: tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "4 4"]],
    source_cameras: tuple[Float[np.ndarray, "S 3 3"], Float[np.ndarray, "S 4 4"]],
) -> Float[np.ndarray, "S"]:
    """Compute the share of the points of a view that lie in the image of every source; what hides them is ignored.

    Args:
        depth: camera z of the view, meters; of all cameras the image size is that of the view.
        camera: K and camera_from_world of the view.
        source_cameras: the same of the sources.
    """
    height, width = depth.shape
    y, x = np.mgrid[:height:_GRID, :width:_GRID] + 0.5
    z = depth[::_GRID, ::_GRID].ravel()
    rays = np.stack([x.ravel(), y.ravel(), np.ones(x.size)]) * z
    points = np.concatenate([np.linalg.inv(camera[0]) @ rays, np.ones((1, x.size))])
    points = (source_cameras[1] @ np.linalg.inv(camera[1]) @ points)[:, :3]
    u, v, z = np.moveaxis(source_cameras[0] @ points, 1, 0)
    inside = (z > 0) & (u >= 0) & (v >= 0) & (u <= width * z) & (v <= height * z)
    return inside.mean(-1)


@struct.dataclass
class _Sweep:
    """What the plane sweep of one view found."""

    colors: Float[Array, "H W 3"]  # the sources, merged
    confidence: Float[Array, "H W"]  # 1 where the sources agree with each other and the render, 0 where none does
    depth: Float[Array, "H W"]  # at which they agree best, meters


@functools.partial(jax.jit, static_argnames=("config",))
def align(
    views: Views, sources: Views, nearest: Int[Array, "T k"], config: AlignConfig = AlignConfig()
) -> Float[Array, "T H W 3"]:
    """Merge the colors of recorded images at the pixels of every view; keep the render where they do not agree.

    A pixel that fewer than two sources see keeps the render.

    Args:
        views: rendered views.
        sources: recorded images with the depth rendered at their poses.
        nearest: indices of the sources of each view, from `nearest_sources`.
        config: how sources are merged.
    """

    def align_view(inputs: tuple[Views, Int[Array, "k"]]) -> Float[Array, "H W 3"]:
        view, indices = inputs
        found = _sweep(view, jax.tree.map(lambda x: x[indices], sources), config)
        return view.rgb + found.confidence[..., None] * (found.colors - view.rgb)

    return lax.map(align_view, (views, jnp.asarray(nearest)))


@functools.partial(jax.jit, static_argnames=("config",))
def align_each(
    views: Views, sources: Views, nearest: Int[Array, "T k"], config: AlignConfig = AlignConfig()
) -> Float[Array, "T K H W 4"]:
    """Warp recorded images to the pixels of every view, at the depth where they agree best.

    Args:
        views: rendered views.
        sources: recorded images with the depth rendered at their poses.
        nearest: indices of the sources of each view, nearest first.
        config: how sources are compared, and how many are kept apart.

    Returns:
        K = 1 + `config.num_apart` references per view, each with colors and confidence in [0, 1]: the merged image of
        `align` before it is blended into the render, then the first sources. Where the confidence is 0, the color is
        that of the render. If there are too few sources, the last references have a confidence of 0 everywhere.
    """

    def align_view(inputs: tuple[Views, Int[Array, "k"]]) -> Float[Array, "K H W 4"]:
        view, indices = inputs
        own_sources = jax.tree.map(lambda x: x[indices], sources)
        found = _sweep(view, own_sources, config)
        apart = jax.tree.map(lambda x: x[: config.num_apart], own_sources)
        warp_each = jax.vmap(functools.partial(warp, config=config), (None, 0))
        colors, visibility = warp_each(dataclasses.replace(view, depth=found.depth), apart)
        colors, visibility = jnp.concatenate([found.colors[None], colors]), jnp.stack([found.confidence, *visibility])
        references = jnp.where(visibility[..., None] > 0.0, colors, view.rgb)
        references = jnp.concatenate([references, visibility[..., None]], -1)
        missing = 1 + config.num_apart - len(references)
        nothing = jnp.concatenate([view.rgb, jnp.zeros_like(view.depth)[..., None]], -1)
        return jnp.concatenate([references, *[nothing[None]] * missing])

    return lax.map(align_view, (views, jnp.asarray(nearest)))


def _sweep(view: Views, sources: Views, config: AlignConfig) -> _Sweep:
    """Try all depths of a view, and merge the sources at those where they agree."""
    factors = jnp.exp(jnp.linspace(-config.log_depth_span, config.log_depth_span, config.num_depths))

    def merge_at(factor: Float[Array, ""]) -> tuple[Float[Array, "H W 3"], Float[Array, "H W"]]:
        return _merge(dataclasses.replace(view, depth=factor * view.depth), sources, config)

    colors, cost = lax.map(merge_at, factors)
    share = jax.nn.softmax(-cost / config.temperature, 0)
    confidence = jnp.exp(-jnp.min(cost, 0) / config.cost_scale)
    depth = view.depth * jnp.sum(share * factors[:, None, None], 0)
    return _Sweep(jnp.sum(share[..., None] * colors, 0), confidence, depth)


def _merge(view: Views, sources: Views, config: AlignConfig) -> tuple[Float[Array, "H W 3"], Float[Array, "H W"]]:
    """Average the colors of the sources at the depth of `view`; also return the cost of their disagreement."""
    colors, visibility = jax.vmap(functools.partial(warp, config=config), (None, 0))(view, sources)
    is_visible = visibility > 0.0
    difference = smooth(
        jnp.square(smooth(colors, config.color_radius // 2) - view.rgb).mean(-1, keepdims=True), config.color_radius
    )
    # The small constant keeps sources that all differ from the render: the render may be wrong.
    weight = is_visible[..., None] * (jnp.exp(-difference / config.color_scale**2) + 1e-6)
    weight = weight / jnp.maximum(jnp.sum(weight, 0), 1e-12)
    mean = jnp.sum(weight * colors, 0)
    variance = jnp.sum(weight * jnp.square(colors - mean), 0)
    cost = (variance + config.render_weight * jnp.square(mean - view.rgb)).mean(-1, keepdims=True)
    cost = smooth(cost[None], config.cost_radius)[0, ..., 0]
    return mean, jnp.where(is_visible.sum(0) >= 2, cost, _NO_AGREEMENT)


def warp(view: Views, source: Views, config: AlignConfig) -> tuple[Float[Array, "H W 3"], Float[Array, "H W"]]:
    """Sample the source's color at the scene point of every pixel of `view`.

    The second result is its visibility: 1 where the depth of the point is that of the source, falling to 0 at
    `config.depth_tolerance`, and 0 outside the image.
    """
    times = functools.partial(jnp.matmul, precision="highest")
    height, width = view.depth.shape
    x, y = jnp.meshgrid(jnp.arange(width) + 0.5, jnp.arange(height) + 0.5)
    rays = times(jnp.stack([x, y, jnp.ones_like(x)], -1), jnp.linalg.inv(view.K).T)
    source_from_view = times(source.camera_from_world, invert_rigid(view.camera_from_world))
    points = times(view.depth[..., None] * rays, source_from_view[:3, :3].T) + source_from_view[:3, 3]
    z = points[..., 2]
    pixels = times(points, source.K.T)[..., :2] / jnp.maximum(z, 1e-3)[..., None]
    places = [pixels[..., 1] - 0.5, pixels[..., 0] - 0.5]  # rows, columns of pixel centers
    sample = lambda image: map_coordinates(image, places, 1, mode="nearest")
    colors = jax.vmap(sample, -1, -1)(source.rgb)
    inside = (z > 0.0) & (pixels >= 0.0).all(-1) & (pixels <= jnp.array([width, height])).all(-1)
    difference = jnp.abs(sample(source.depth) - z) / (config.depth_tolerance * jnp.maximum(z, 1e-3))
    return colors, inside * jnp.maximum(1.0 - difference, 0.0)


def smooth(x: Float[Array, "n H W C"], radius: int) -> Float[Array, "n H W C"]:
    """Average over square windows; edges are repeated."""
    size = 2 * radius + 1
    padded = jnp.pad(x, ((0, 0), (radius, radius), (radius, radius), (0, 0)), "edge")
    return lax.reduce_window(padded, 0.0, lax.add, (1, size, size, 1), (1, 1, 1, 1), "VALID") / size**2
