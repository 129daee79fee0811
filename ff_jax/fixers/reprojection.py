"""Re-project recorded images into a rendered view, with the rendered depth corrected by a plane sweep.

A lateral shift of the camera moves near objects by many pixels. A recorded image is a useful reference of a shifted
view only after it is warped. The depth comes from the reconstruction and is wrong where the recorded views do not
determine it. Every pixel therefore tries several depths around the rendered one, and weights them by how well the
recorded images agree with each other and with the render (plane sweep, Collins 1996, doi 10.1109/CVPR.1996.517097).
Where they agree at no depth, the render is kept. A source that sees another surface in front of the point, or another
color, gets a small weight.
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
from ff_jax.runtime.settings import Settings, bounded

_NO_AGREEMENT = 1e3  # cost where fewer than two sources see the point: above any other cost, still finite


@dataclasses.dataclass(frozen=True)
class AlignConfig(Settings):
    """How sources are selected and merged (hashable: a static argument).

    Attributes:
        num_sources: recorded images per rendered view: the nearest in time.
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
    times: Float[np.ndarray, "T"], source_times: Float[np.ndarray, "S"], count: int, skip: int = 0
) -> Int[np.ndarray, "T k"]:
    """Select the `count` sources (all, if there are fewer) nearest in time to every view.

    Args:
        times: of the views, seconds.
        source_times: of the sources, seconds.
        count: number of sources per view.
        skip: number of the very nearest sources to leave out.

    Returns:
        Indices of the sources, nearest first.
    """
    distance = np.abs(np.asarray(source_times)[None] - np.asarray(times)[:, None])
    return np.argsort(distance, 1, kind="stable")[:, skip : skip + count]


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
    factors = jnp.exp(jnp.linspace(-config.log_depth_span, config.log_depth_span, config.num_depths))

    def align_view(inputs: tuple[Views, Int[Array, "k"]]) -> Float[Array, "H W 3"]:
        view, indices = inputs
        own_sources = jax.tree.map(lambda x: x[indices], sources)

        def merge_at(factor: Float[Array, ""]) -> tuple[Float[Array, "H W 3"], Float[Array, "H W"]]:
            return _merge(dataclasses.replace(view, depth=factor * view.depth), own_sources, config)

        colors, cost = lax.map(merge_at, factors)
        share = jax.nn.softmax(-cost / config.temperature, 0)
        weight = jnp.exp(-jnp.min(cost, 0) / config.cost_scale)[..., None]
        return view.rgb + weight * (jnp.sum(share[..., None] * colors, 0) - view.rgb)

    return lax.map(align_view, (views, jnp.asarray(nearest)))


def _merge(view: Views, sources: Views, config: AlignConfig) -> tuple[Float[Array, "H W 3"], Float[Array, "H W"]]:
    """Average the colors of the sources at the depth of `view`; also return the cost of their disagreement."""
    colors, is_visible = jax.vmap(functools.partial(warp, config=config), (None, 0))(view, sources)
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


def warp(view: Views, source: Views, config: AlignConfig) -> tuple[Float[Array, "H W 3"], Bool[Array, "H W"]]:
    """Sample the source's color at the scene point of every pixel of `view`; also tell whether it sees that point."""
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
    return colors, inside & (jnp.abs(sample(source.depth) - z) < config.depth_tolerance * z)


def smooth(x: Float[Array, "n H W C"], radius: int) -> Float[Array, "n H W C"]:
    """Average over square windows; edges are repeated."""
    size = 2 * radius + 1
    padded = jnp.pad(x, ((0, 0), (radius, radius), (radius, radius), (0, 0)), "edge")
    return lax.reduce_window(padded, 0.0, lax.add, (1, size, size, 1), (1, 1, 1, 1), "VALID") / size**2
