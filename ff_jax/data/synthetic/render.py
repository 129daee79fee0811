"""Render the street from any camera by ray casting: color, depth, instances and sky."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Bool, Float, Int, PyTree, Shaped

from ff_jax.data.synthetic.ground import FAR, world_to_street
from ff_jax.data.synthetic.lighting import ambient_occlusion, shade, sky_color, sky_gradient, tone_map
from ff_jax.data.synthetic.procedural_noise import mix, smoothstep
from ff_jax.data.synthetic.ray_casting import make_lists, reach_cone, reach_sun, trace
from ff_jax.data.synthetic.ray_intersections import geometry_table
from ff_jax.data.synthetic.surface_points import Surface, find_surface, surface_appearance
from ff_jax.data.synthetic.types import Street, StreetView
from ff_jax.data.synthetic.vectors import norm
from ff_jax.render.camera import Camera, pixel_rays

TILE = 16  # pixels: side of the blocks of rays that share a list of primitives
SUN_CONE = 0.009  # radians: angular diameter of the sun, the width of a shadow ray


def _sunlit(
    street: Street, table: Float[Array, "N 12"], surface: Surface, leaf: Bool[Array, "B R"]
) -> Float[Array, "B R"]:
    """Trace shadow rays: 1 where the sun reaches a surface, else 0."""
    lit = surface.t < FAR / 2
    lift = jnp.where(leaf, 0.12, 0.01 + 2e-4 * jnp.minimum(surface.t, 500.0))
    start = surface.point + lift * surface.normal
    sun = jnp.broadcast_to(street.sky.sun[:, None, None], start.shape)
    reach = reach_sun(table[:, :3], street.primitives.radius, street.sky.sun, start, lit)
    far = jnp.full(surface.t.shape, FAR)
    t, _ = trace(table, make_lists(street.primitives, reach), start, sun, far, jnp.float32(SUN_CONE))
    return jnp.where(t < FAR / 2, 0.0, 1.0)


def radiance(
    street: Street,
    table: Float[Array, "N 12"],
    frame: Float[Array, ""],
    surface: Surface,
    direction: Float[Array, "3 B R"],
    cone: Float[Array, ""],
) -> Float[Array, "3 B R"]:
    """Shade the surfaces that rays hit: linear color."""
    appearance, leaf = surface_appearance(street, surface, direction, cone)
    sunlit = _sunlit(street, table, surface, leaf)
    sunlit = jnp.where(leaf, 0.12 + 0.88 * sunlit, sunlit)
    _, n = world_to_street(street.road, surface.point[0], surface.point[1])
    wall = jnp.minimum(n - street.road.facades[0], street.road.facades[1] - n)
    flat = surface.primitive < 0
    corner = jnp.where(
        flat, 0.62 + 0.38 * smoothstep(wall, -0.2, 2.2), 0.6 + 0.4 * smoothstep(surface.point[2], 0.0, 2.0)
    )
    sky_visibility = corner * ambient_occlusion(street.vehicles, frame, surface.point + 0.02 * surface.normal)
    color = shade(
        street.sky, appearance, surface.shading, direction, sunlit, sky_visibility, jnp.where(leaf, 0.45, 0.0)
    )
    haze = 1.0 - jnp.exp(-jnp.minimum(surface.t, 1e4) / 1400.0)
    color = mix(color, 0.85 * sky_gradient(street.sky, direction.at[2].set(0.02)), haze[None])
    return jnp.where(surface.t < FAR / 2, color, sky_color(street.sky, direction))


def _subpixels(samples: int) -> Float[Array, "S 2"]:
    """Place rays in a pixel: the center first (it carries the labels), then a grid."""
    center = jnp.array([[0.5, 0.5]])
    if samples == 1:
        return center
    grid = (jnp.arange(samples) + 0.5) / samples
    return jnp.concatenate([center, jnp.stack(jnp.meshgrid(grid, grid), -1).reshape(-1, 2)])


def _tile_rays(camera: Camera, samples: int) -> tuple[Float[Array, "3 B R"], Float[Array, "B R"]]:
    """Compute unit directions in the world and the depth of one meter, tile by tile, sub-pixel fastest."""
    columns, rows = -(-camera.width // TILE), -(-camera.height // TILE)
    x, y = jnp.meshgrid(jnp.arange(columns * TILE), jnp.arange(rows * TILE))
    pixel = jnp.stack([x, y], -1).reshape(rows, TILE, columns, TILE, 2).transpose(0, 2, 1, 3, 4)
    pixel = pixel.reshape(rows * columns, TILE * TILE, 1, 2) + _subpixels(samples)
    pixel = pixel.reshape(rows * columns, -1, 2)
    rotation = camera.world_from_camera[:3, :3]
    if camera.lens is not None:
        ray = jnp.moveaxis(pixel_rays(camera, pixel)[0], -1, 0)
        depth = jnp.ones_like(ray[2]) if camera.lens.has_angular_depth else ray[2]
        return jnp.einsum("ij,jbr->ibr", rotation, ray, precision="highest"), depth
    u = pixel[..., 0] - camera.K[0, 2] - camera.K[0, 1] * (pixel[..., 1] - camera.K[1, 2]) / camera.K[1, 1]
    ray = jnp.stack([u / camera.K[0, 0], (pixel[..., 1] - camera.K[1, 2]) / camera.K[1, 1], jnp.ones_like(u)])
    length = norm(ray)
    return jnp.einsum("ij,jbr->ibr", rotation, ray / length, precision="highest"), 1.0 / length


def _untile(values: Shaped[Array, "B P *c"], camera: Camera) -> Shaped[Array, "H W *c"]:
    """Put tiles together to the image of a camera."""
    columns, rows = -(-camera.width // TILE), -(-camera.height // TILE)
    image = values.reshape(rows, columns, TILE, TILE, *values.shape[2:]).swapaxes(1, 2)
    image = image.reshape(rows * TILE, columns * TILE, *values.shape[2:])
    return image[: camera.height, : camera.width]


def _batches(tiles: int, rays: int) -> int:
    """Choose the number of batches of tiles.

    A batch loops as long as its slowest tile, so tiles are sorted by work and split. Small batches keep the rays in
    the cache of a CPU; on a GPU fewer batches save kernel launches.
    """
    num_batches = 6 if jax.default_backend() != "cpu" else max(6, tiles * rays // 2560)
    return min(num_batches, tiles)


def _sorted_map(function: Callable[[PyTree], PyTree], work: Int[Array, "B"], arrays: PyTree, batches: int) -> PyTree:
    """Map over batches of tiles of similar work; the leading axis of the arrays is the tile."""
    tiles = work.shape[0]
    per = -(-tiles // batches)
    order = jnp.argsort(-work)
    padded = jnp.concatenate([order, jnp.repeat(order[-1:], per * batches - tiles)])
    split = jax.tree.map(lambda a: a[padded].reshape(batches, per, *a.shape[1:]), arrays)
    out = jax.lax.map(function, split)
    out = jax.tree.map(lambda a: a.reshape(batches * per, *a.shape[2:])[:tiles], out)
    return jax.tree.map(lambda a: jnp.zeros_like(a).at[order].set(a), out)


def render_street(
    street: Street,
    camera: Camera,
    time: float | int | Float[ArrayLike, ""],
    *,
    samples: int = 2,
    exposure: Float[ArrayLike, "2"] | None = None,
) -> StreetView:
    """Render the street from `camera`. Works under jit, and under vmap over cameras and times.

    Depth, instance and sky mask belong to the pixel center.

    Args:
        street: the street.
        camera: any camera with a global shutter, with a lens or without; its depth is that of `ff_jax.render`. Pixels
            beyond the domain of a lens continue it (`lens_mask`).
        time: seconds from the start of the drive.
        samples: colors average samples^2 + 1 rays per pixel (1 ray if samples is 1).
        exposure: (gain, bias) on the stored colors; None takes that of the drive.

    Raises:
        ValueError: `samples` is below 1, or the camera has a rolling shutter.
    """
    if samples < 1:
        raise ValueError(f"invalid {samples=}: expected 1 or more.")
    if camera.shutter is not None:
        raise ValueError("rendering the street supports global shutters only: give it a camera with shutter=None.")
    frame = jnp.interp(
        jnp.asarray(time, jnp.float32), street.times, jnp.arange(street.times.shape[0], dtype=jnp.float32)
    )
    if exposure is None:
        steps = jnp.arange(street.times.shape[0], dtype=jnp.float32)
        exposure = jnp.stack([jnp.interp(frame, steps, street.exposures[:, k]) for k in range(2)])
    table = geometry_table(street.primitives, street.vehicles, frame)
    directions, forward = _tile_rays(camera, samples)
    eye = camera.world_from_camera[:3, 3]
    lists = make_lists(street.primitives, reach_cone(table[:, :3], street.primitives.radius, eye, directions))
    cone = 1.0 / (camera.K[0, 0] * samples)
    per_pixel = 1 if samples == 1 else samples**2 + 1

    def tile_batch(batch: PyTree) -> PyTree:
        lists, direction, forward = batch
        direction = jnp.moveaxis(direction, 1, 0)
        origin = jnp.broadcast_to(eye[:, None, None], direction.shape)
        surface = find_surface(street, table, lists, origin, direction, cone)
        color = radiance(street, table, frame, surface, direction, cone)
        blocks = color.shape[1]
        color = jnp.moveaxis(color, 0, -1).reshape(blocks, TILE * TILE, per_pixel, 3)
        depth, primitive = (surface.t * forward)[:, ::per_pixel], surface.primitive[:, ::per_pixel]
        sky = surface.t[:, ::per_pixel] > FAR / 2
        owner = jnp.where(primitive >= 0, street.primitives.owner[jnp.maximum(primitive, 0)], 0)
        return jnp.mean(color, 2), jnp.where(sky, 0.0, depth), owner, sky

    arrays = (lists, jnp.moveaxis(directions, 0, 1), forward)
    batches = _batches(*forward.shape)
    color, depth, owner, sky = _sorted_map(tile_batch, jnp.sum(lists.counts, 1), arrays, batches)
    rgb = tone_map(_untile(color, camera), jnp.asarray(exposure))
    return StreetView(rgb, _untile(depth, camera), _untile(owner, camera).astype(jnp.int32), _untile(sky, camera))
