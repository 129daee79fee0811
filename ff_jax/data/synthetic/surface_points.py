"""Where rays end and what the surface there looks like, before light falls on it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from ff_jax.data.synthetic.facades import Look
from ff_jax.data.synthetic.ground import hit_ground, street_coordinates
from ff_jax.data.synthetic.materials import Patch, bend_normal, leaf_noise, look_at, texture_place
from ff_jax.data.synthetic.procedural_noise import octaves
from ff_jax.data.synthetic.ray_casting import Lists, trace
from ff_jax.data.synthetic.ray_intersections import local_normal, to_local, to_world, unpack
from ff_jax.data.synthetic.road_texture import Spot, paving
from ff_jax.data.synthetic.types import FOLIAGE, World
from ff_jax.data.synthetic.vectors import dot


class Surface(NamedTuple):
    """Where rays end."""

    t: Float[Array, "B R"]  # ray parameter; FAR: sky
    primitive: Int[Array, "B R"]  # -1: street or sky
    point: Float[Array, "3 B R"]  # metres
    local: Float[Array, "3 B R"]  # metres, in the primitive's frame
    normal: Float[Array, "3 B R"]  # towards the viewer
    shading: Float[Array, "3 B R"]  # the normal that light sees
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
    material = world.primitives.material[jnp.maximum(primitive, 0)]
    bent = bend_normal(material, inner, local, row.shape)
    normal = jnp.where(primitive >= 0, to_world(row, inner), ground_normal)
    shading = jnp.where(primitive >= 0, to_world(row, bent), ground_normal)
    # Thin things are seen from both sides.
    turn = jnp.where(dot(normal, direction) > 0, -1.0, 1.0)
    return Surface(t, primitive, point, local, turn * normal, turn * shading, inner, row.shape)


def _spot(world: World, surface: Surface, direction, cone) -> Spot:
    """Return street coordinates and pixel footprints of the hit points."""
    cosine = jnp.maximum(-dot(surface.normal, direction), 0.02)
    size = jnp.minimum(surface.t, 500.0) * cone
    x, y, _ = surface.point
    s, n = street_coordinates(world.street, x, y)
    heading = world.street.curvature * s
    along = jnp.abs(direction[0] * jnp.cos(heading) + direction[1] * jnp.sin(heading))
    across = jnp.abs(direction[1] * jnp.cos(heading) - direction[0] * jnp.sin(heading))
    stretch = 1.0 / cosine - 1.0
    mean = size / jnp.sqrt(cosine)
    return Spot(s, n, surface.normal[2] < 0.5, mean, size * (1 + along * stretch), size * (1 + across * stretch))


def look_of(
    world: World, surface: Surface, direction: Float[Array, "3 B R"], cone: Float[Array, ""]
) -> tuple[Look, Bool[Array, "B R"]]:
    """Return the look of surfaces and which of them are leaves."""
    spot = _spot(world, surface, direction, cone)
    index, solid, own = jnp.maximum(surface.primitive, 0), surface.primitive >= 0, world.primitives
    color, trim, style = (jnp.moveaxis(a[index], -1, 0) for a in (own.color, own.trim, own.style))
    material = jnp.where(solid, own.material[index], -1)
    u, v = texture_place(material, surface.point, surface.local, surface.local_normal, own.seed[index])
    street_u = spot.s + world.street.offset[0]
    u, v = jnp.where(solid, u, street_u), jnp.where(solid, v, spot.n)
    # Every material reads these: without the barrier XLA would evaluate the noise once per reader.
    noise, leaf = octaves(u, v, spot.size), leaf_noise(surface.point, spot.size)
    noise, leaf, spot = jax.lax.optimization_barrier((noise, leaf, spot))
    ground = paving(world.street, spot, noise)
    patch = Patch(
        material,
        surface.local,
        surface.local_normal,
        surface.shape,
        spot.size,
        noise,
        leaf,
        color,
        trim,
        style,
    )
    look = look_at(patch)
    look = Look(jnp.where(solid, look.albedo, ground), look.gloss * solid, look.glow * solid)
    return look, material == FOLIAGE
