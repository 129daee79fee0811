"""Render any camera in the street by ray casting: colour, depth, instances and sky."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Bool, Float, Int

from ff_jax.data.synthetic.ground import FAR, street_coordinates
from ff_jax.data.synthetic.lighting import contact_shade, shade, sky_color, sky_gradient, to_stored
from ff_jax.data.synthetic.procedural_noise import mix, smooth
from ff_jax.data.synthetic.ray_casting import make_lists, reach_cone, reach_sun, trace
from ff_jax.data.synthetic.ray_intersections import geometry_table
from ff_jax.data.synthetic.surface_points import Surface, find_surface, look_of
from ff_jax.data.synthetic.types import World, WorldView
from ff_jax.data.synthetic.vectors import norm
from ff_jax.render.camera import Camera

TILE = 16  # pixels: side of the blocks of rays that share a list of primitives
SUN_CONE = 0.009  # radians: angular diameter of the sun, the width of a shadow ray


def _sun_reaches(world: World, table, surface: Surface, leaf):
    lit = surface.t < FAR / 2
    lift = jnp.where(leaf, 0.12, 0.01 + 2e-4 * jnp.minimum(surface.t, 500.0))
    start = surface.point + lift * surface.normal
    sun = jnp.broadcast_to(world.sky.sun[:, None, None], start.shape)
    reach = reach_sun(table[:, :3], world.primitives.radius, world.sky.sun, start, lit)
    far = jnp.full(surface.t.shape, FAR)
    t, _ = trace(table, make_lists(world.primitives, reach), start, sun, far, jnp.float32(SUN_CONE))
    return jnp.where(t < FAR / 2, 0.0, 1.0)


def radiance(
    world: World, table: Float[Array, "N 12"], frame: Float[Array, ""], surface: Surface, direction, cone
) -> Float[Array, "3 B R"]:
    """Return the linear colour that rays see."""
    look, leaf = look_of(world, surface, direction, cone)
    sunlit = _sun_reaches(world, table, surface, leaf)
    sunlit = jnp.where(leaf, 0.12 + 0.88 * sunlit, sunlit)
    _, n = street_coordinates(world.street, surface.point[0], surface.point[1])
    wall = jnp.minimum(n - world.street.facades[0], world.street.facades[1] - n)
    flat = surface.primitive < 0
    corner = jnp.where(flat, 0.62 + 0.38 * smooth(wall, -0.2, 2.2), 0.6 + 0.4 * smooth(surface.point[2], 0.0, 2.0))
    openness = corner * contact_shade(world.vehicles, frame, surface.point + 0.02 * surface.normal)
    color = shade(world.sky, look, surface.shading, direction, sunlit, openness, jnp.where(leaf, 0.45, 0.0))
    haze = 1.0 - jnp.exp(-jnp.minimum(surface.t, 1e4) / 1400.0)
    color = mix(color, 0.85 * sky_gradient(world.sky, direction.at[2].set(0.02)), haze[None])
    return jnp.where(surface.t < FAR / 2, color, sky_color(world.sky, direction))


def _subpixels(samples: int) -> Float[Array, "S 2"]:
    """Return ray positions in a pixel: the centre first (it carries the labels), then a grid."""
    centre = jnp.array([[0.5, 0.5]])
    if samples == 1:
        return centre
    grid = (jnp.arange(samples) + 0.5) / samples
    return jnp.concatenate([centre, jnp.stack(jnp.meshgrid(grid, grid), -1).reshape(-1, 2)])


def _tile_rays(camera: Camera, samples: int) -> tuple[Float[Array, "3 B R"], Float[Array, "B R"]]:
    """Return unit directions in the world and their camera z, tile by tile, sub-pixel fastest."""
    columns, rows = -(-camera.width // TILE), -(-camera.height // TILE)
    x, y = jnp.meshgrid(jnp.arange(columns * TILE), jnp.arange(rows * TILE))
    pixel = jnp.stack([x, y], -1).reshape(rows, TILE, columns, TILE, 2).transpose(0, 2, 1, 3, 4)
    pixel = pixel.reshape(rows * columns, TILE * TILE, 1, 2) + _subpixels(samples)
    pixel = pixel.reshape(rows * columns, -1, 2)
    u = pixel[..., 0] - camera.K[0, 2] - camera.K[0, 1] * (pixel[..., 1] - camera.K[1, 2]) / camera.K[1, 1]
    ray = jnp.stack([u / camera.K[0, 0], (pixel[..., 1] - camera.K[1, 2]) / camera.K[1, 1], jnp.ones_like(u)])
    length = norm(ray)
    rotation = camera.world_from_camera[:3, :3]
    return jnp.einsum("ij,jbr->ibr", rotation, ray / length, precision="highest"), 1.0 / length


def _untile(values: Float[Array, "B P ..."] | Int[Array, "B P"] | Bool[Array, "B P"], camera: Camera):
    columns, rows = -(-camera.width // TILE), -(-camera.height // TILE)
    image = values.reshape(rows, columns, TILE, TILE, *values.shape[2:]).swapaxes(1, 2)
    image = image.reshape(rows * TILE, columns * TILE, *values.shape[2:])
    return image[: camera.height, : camera.width]


def _batches(tiles: int, rays: int) -> int:
    """Return into how many batches to cut the tiles.

    A batch loops as long as its busiest tile, so tiles are sorted by work and cut; on a CPU batches also keep
    the rays in cache, on a GPU fewer batches save kernel launches.
    """
    wanted = 6 if jax.default_backend() != "cpu" else max(6, tiles * rays // 2560)
    return min(wanted, tiles)


def _sorted_map(function, work: Int[Array, "B"], arrays, batches: int):
    """Map over batches of tiles of similar work; arrays lead with the tile axis."""
    tiles = work.shape[0]
    per = -(-tiles // batches)
    order = jnp.argsort(-work)
    padded = jnp.concatenate([order, jnp.repeat(order[-1:], per * batches - tiles)])
    split = jax.tree.map(lambda a: a[padded].reshape(batches, per, *a.shape[1:]), arrays)
    out = jax.lax.map(function, split)
    out = jax.tree.map(lambda a: a.reshape(batches * per, *a.shape[2:])[:tiles], out)
    return jax.tree.map(lambda a: jnp.zeros_like(a).at[order].set(a), out)


def render_world(
    world: World,
    camera: Camera,
    time: float | int | Float[ArrayLike, ""],
    *,
    samples: int = 2,
    exposure: Float[ArrayLike, "2"] | None = None,
) -> WorldView:
    """Render the street as `camera` sees it at `time` (seconds).

    Colours average samples^2 + 1 rays per pixel (1 ray if samples is 1); depth (metres along camera z, 0 in
    the sky), instance and sky mask are those of the pixel centre. `exposure` is (gain, bias) on the stored
    colours; None takes the drive's own. Works under jit and under vmap over cameras and times.
    """
    if samples < 1:
        raise ValueError(f"{samples=} must be at least 1")
    frame = jnp.interp(jnp.asarray(time, jnp.float32), world.times, jnp.arange(world.times.shape[0], dtype=jnp.float32))
    if exposure is None:
        steps = jnp.arange(world.times.shape[0], dtype=jnp.float32)
        exposure = jnp.stack([jnp.interp(frame, steps, world.exposures[:, k]) for k in range(2)])
    table = geometry_table(world.primitives, world.vehicles, frame)
    directions, forward = _tile_rays(camera, samples)
    eye = camera.world_from_camera[:3, 3]
    lists = make_lists(world.primitives, reach_cone(table[:, :3], world.primitives.radius, eye, directions))
    cone = 1.0 / (camera.K[0, 0] * samples)
    per_pixel = 1 if samples == 1 else samples**2 + 1

    def tile_batch(batch):
        lists, direction, forward = batch
        direction = jnp.moveaxis(direction, 1, 0)
        origin = jnp.broadcast_to(eye[:, None, None], direction.shape)
        surface = find_surface(world, table, lists, origin, direction, cone)
        color = radiance(world, table, frame, surface, direction, cone)
        blocks = color.shape[1]
        color = jnp.moveaxis(color, 0, -1).reshape(blocks, TILE * TILE, per_pixel, 3)
        depth, primitive = (surface.t * forward)[:, ::per_pixel], surface.primitive[:, ::per_pixel]
        sky = surface.t[:, ::per_pixel] > FAR / 2
        owner = jnp.where(primitive >= 0, world.primitives.owner[jnp.maximum(primitive, 0)], 0)
        return jnp.mean(color, 2), jnp.where(sky, 0.0, depth), owner, sky

    arrays = (lists, jnp.moveaxis(directions, 0, 1), forward)
    batches = _batches(*forward.shape)
    color, depth, owner, sky = _sorted_map(tile_batch, jnp.sum(lists.counts, 1), arrays, batches)
    rgb = to_stored(_untile(color, camera), jnp.asarray(exposure))
    return WorldView(rgb, _untile(depth, camera), _untile(owner, camera).astype(jnp.int32), _untile(sky, camera))
