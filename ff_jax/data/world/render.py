"""Render any camera in the street by ray casting: colour, depth, instances and sky."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from ff_jax.camera import Camera
from ff_jax.data.world.facade import Look
from ff_jax.data.world.ground import FAR, hit_ground, street_coordinates
from ff_jax.data.world.light import contact_shade, shade, sky_color, sky_gradient, to_stored
from ff_jax.data.world.materials import Patch, look_at, texture_place
from ff_jax.data.world.noise import mix, octaves, smooth
from ff_jax.data.world.paving import Spot, paving
from ff_jax.data.world.shapes import geometry_table, local_normal, to_local, to_world, unpack
from ff_jax.data.world.structs import FOLIAGE, World, WorldView
from ff_jax.data.world.trace import Lists, make_lists, reach_cone, reach_sun, trace

TILE = 16  # pixels: side of the blocks of rays that share a list of primitives
SUN_CONE = 0.009  # radians: angular diameter of the sun, the width of a shadow ray


class Surface(NamedTuple):
    """Where rays end."""

    t: Float[Array, "B R"]  # ray parameter; FAR: sky
    primitive: Int[Array, "B R"]  # -1: street or sky
    point: Float[Array, "3 B R"]  # metres
    local: Float[Array, "3 B R"]  # metres, in the primitive's frame
    normal: Float[Array, "3 B R"]
    local_normal: Float[Array, "3 B R"]
    shape: Float[Array, "7 B R"]


def find_surface(
    world: World,
    table: Float[Array, "N 12"],
    lists: Lists,
    origin: Float[Array, "3 B R"],
    direction: Float[Array, "3 B R"],
    cone: Float[Array, ""],
) -> Surface:
    """Trace rays to the street and the primitives on it."""
    ground, ground_normal = hit_ground(world.street, origin, direction)
    t, primitive = trace(table, lists, origin, direction, ground, cone)
    point = origin + t * direction
    row = unpack(table[jnp.maximum(primitive, 0)])
    local = to_local(row, point - row.center)
    ends = [sum(world.primitives.counts[: i + 1]) for i in range(3)]
    kind = sum((primitive >= end).astype(jnp.int32) for end in ends)
    inner = local_normal(kind, row, local)
    normal = jnp.where(primitive >= 0, to_world(row, inner), ground_normal)
    # Thin things are seen from both sides.
    normal = jnp.where(jnp.sum(normal * direction, 0) > 0, -normal, normal)
    return Surface(t, primitive, point, local, normal, inner, row.shape)


def look_of(
    world: World, surface: Surface, direction: Float[Array, "3 B R"], cone: Float[Array, ""]
) -> tuple[Look, Bool[Array, "B R"]]:
    """Return the look of surfaces and which of them are leaves."""
    cosine = jnp.maximum(-jnp.sum(surface.normal * direction, 0), 0.02)
    size = jnp.minimum(surface.t, 500.0) * cone
    x, y, _ = surface.point
    s, n = street_coordinates(world.street, x, y)
    heading = world.street.curvature * s
    along = jnp.abs(direction[0] * jnp.cos(heading) + direction[1] * jnp.sin(heading))
    across = jnp.abs(direction[1] * jnp.cos(heading) - direction[0] * jnp.sin(heading))
    stretch = 1.0 / cosine - 1.0
    mean = size / jnp.sqrt(cosine)
    spot = Spot(
        s, n, surface.normal[2] < 0.5, mean, size * (1 + along * stretch), size * (1 + across * stretch)
    )
    index, solid, own = jnp.maximum(surface.primitive, 0), surface.primitive >= 0, world.primitives
    color, trim, style = (jnp.moveaxis(a[index], -1, 0) for a in (own.color, own.trim, own.style))
    material = jnp.where(solid, own.material[index], -1)
    u, v = texture_place(material, surface.point, surface.local, surface.local_normal, own.seed[index])
    u, v = jnp.where(solid, u, s + world.street.offset[0]), jnp.where(solid, v, n)
    # Every material reads these: without the barrier XLA would evaluate the noise once per reader.
    noise, spot = jax.lax.optimization_barrier((octaves(u, v, mean), spot))
    ground = paving(world.street, spot, noise)
    patch = Patch(
        material, surface.local, surface.local_normal, surface.shape, mean, noise, color, trim, style
    )
    look = look_at(patch)
    return Look(
        jnp.where(solid, look.albedo, ground), look.gloss * solid, look.glow * solid
    ), material == FOLIAGE


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
    corner = jnp.where(
        flat, 0.62 + 0.38 * smooth(wall, -0.2, 2.2), 0.6 + 0.4 * smooth(surface.point[2], 0.0, 2.0)
    )
    openness = corner * contact_shade(world.vehicles, frame, surface.point + 0.02 * surface.normal)
    color = shade(world.sky, look, surface.normal, direction, sunlit, openness, jnp.where(leaf, 0.45, 0.0))
    haze = 1.0 - jnp.exp(-jnp.minimum(surface.t, 1e4) / 900.0)
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
    length = jnp.sqrt(jnp.sum(ray * ray, 0))
    rotation = camera.world_from_camera[:3, :3]
    return jnp.einsum("ij,jbr->ibr", rotation, ray / length), 1.0 / length


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
    wanted = 6 if jax.default_backend() != "cpu" else max(6, tiles * rays // 16384)
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
    time: float | Float[Array, ""],
    *,
    samples: int = 2,
    exposure: Float[Array, "2"] | None = None,
) -> WorldView:
    """Render the street as `camera` sees it at `time` (seconds).

    Colours average samples^2 + 1 rays per pixel (1 ray if samples is 1); depth (metres along camera z, 0 in
    the sky), instance and sky mask are those of the pixel centre. `exposure` is (gain, bias) on the stored
    colours; None takes the drive's own. Works under jit and under vmap over cameras and times.
    """
    if samples < 1:
        raise ValueError(f"{samples=} must be at least 1")
    frame = jnp.interp(
        jnp.asarray(time, jnp.float32), world.times, jnp.arange(world.times.shape[0], dtype=jnp.float32)
    )
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
    rgb = to_stored(_untile(color, camera), exposure)
    return WorldView(
        rgb, _untile(depth, camera), _untile(owner, camera).astype(jnp.int32), _untile(sky, camera)
    )
