"""The surface points that rays hit, and their appearance before lighting."""

import functools
import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from ff_jax.data.synthetic.facades import Appearance
from ff_jax.data.synthetic.ground import hit_ground, world_to_street
from ff_jax.data.synthetic.materials import (
    PrimitivePoint,
    leaf_noise,
    primitive_appearance,
    shading_normal,
    texture_coordinates,
)
from ff_jax.data.synthetic.procedural_noise import octaves
from ff_jax.data.synthetic.ray_casting import CandidateLists, trace
from ff_jax.data.synthetic.ray_intersections import local_normal, to_local, to_world, unpack
from ff_jax.data.synthetic.road_texture import RoadPoint, road_albedo
from ff_jax.data.synthetic.types import FOLIAGE, Street
from ff_jax.data.synthetic.vectors import dot


class Surface(NamedTuple):
    """The surface points that rays hit."""

    t: Float[Array, "B R"]  # ray parameter; FAR: sky
    primitive: Int[Array, "B R"]  # -1: street or sky
    point: Float[Array, "3 B R"]  # meters
    local: Float[Array, "3 B R"]  # meters, in the primitive's frame
    normal: Float[Array, "3 B R"]  # towards the viewer
    shading: Float[Array, "3 B R"]  # normal for the lighting
    local_normal: Float[Array, "3 B R"]
    shape: Float[Array, "7 B R"]


def find_surface(
    street: Street,
    table: Float[Array, "N 12"],
    lists: CandidateLists,
    origin: Float[Array, "3 B R"],
    direction: Float[Array, "3 B R"],
    cone: Float[Array, ""],
) -> Surface:
    """Trace rays to the street and the primitives on it."""
    ground, ground_normal = hit_ground(street.road, origin, direction)
    t, primitive = trace(table, lists, origin, direction, ground, cone)
    point = origin + t * direction
    row = unpack(table[jnp.maximum(primitive, 0)])
    local = to_local(row, point - row.center)
    ends = [sum(street.primitives.counts[: i + 1]) for i in range(3)]
    kind = functools.reduce(operator.add, ((primitive >= end).astype(jnp.int32) for end in ends))
    inner = local_normal(kind, row, local)
    material = street.primitives.material[jnp.maximum(primitive, 0)]
    rounded = shading_normal(material, inner, local, row.shape)
    normal = jnp.where(primitive >= 0, to_world(row, inner), ground_normal)
    shading = jnp.where(primitive >= 0, to_world(row, rounded), ground_normal)
    # Panels are visible from both sides.
    turn = jnp.where(dot(normal, direction) > 0, -1.0, 1.0)
    return Surface(t, primitive, point, local, turn * normal, turn * shading, inner, row.shape)


def _spot(street: Street, surface: Surface, direction: Float[Array, "3 B R"], cone: Float[Array, ""]) -> RoadPoint:
    """Compute street coordinates and pixel footprints of the hit points."""
    cosine = jnp.maximum(-dot(surface.normal, direction), 0.02)
    size = jnp.minimum(surface.t, 500.0) * cone
    x, y, _ = surface.point
    s, n = world_to_street(street.road, x, y)
    heading = street.road.curvature * s
    along = jnp.abs(direction[0] * jnp.cos(heading) + direction[1] * jnp.sin(heading))
    across = jnp.abs(direction[1] * jnp.cos(heading) - direction[0] * jnp.sin(heading))
    stretch = 1.0 / cosine - 1.0
    mean = size / jnp.sqrt(cosine)
    return RoadPoint(s, n, surface.normal[2] < 0.5, mean, size * (1 + along * stretch), size * (1 + across * stretch))


def surface_appearance(
    street: Street, surface: Surface, direction: Float[Array, "3 B R"], cone: Float[Array, ""]
) -> tuple[Appearance, Bool[Array, "B R"]]:
    """Compute the appearance of surfaces, and which of them are leaves."""
    spot = _spot(street, surface, direction, cone)
    index, solid, own = jnp.maximum(surface.primitive, 0), surface.primitive >= 0, street.primitives
    color, trim, style = (jnp.moveaxis(a[index], -1, 0) for a in (own.color, own.trim, own.style))
    material = jnp.where(solid, own.material[index], -1)
    u, v = texture_coordinates(material, surface.point, surface.local, surface.local_normal, own.seed[index])
    street_u = spot.s + street.road.offset[0]
    u, v = jnp.where(solid, u, street_u), jnp.where(solid, v, spot.n)
    # All materials use these: without the barrier XLA would evaluate the noise once per material.
    noise, leaf = octaves(u, v, spot.size), leaf_noise(surface.point, spot.size)
    noise, leaf, spot = jax.lax.optimization_barrier((noise, leaf, spot))
    ground = road_albedo(street.road, spot, noise)
    patch = PrimitivePoint(
        material, surface.local, surface.local_normal, surface.shape, spot.size, noise, leaf, color, trim, style
    )
    appearance = primitive_appearance(patch)
    appearance = Appearance(
        jnp.where(solid, appearance.albedo, ground), appearance.gloss * solid, appearance.glow * solid
    )
    return appearance, material == FOLIAGE
