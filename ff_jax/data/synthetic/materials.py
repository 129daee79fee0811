"""Materials: the appearance of all primitives (house walls: `facades.py`)."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from ff_jax.data.synthetic.facades import Appearance, Color, WallPoint, facade
from ff_jax.data.synthetic.procedural_noise import (
    band,
    constant_color,
    hash_unit,
    mix,
    rect,
    smoothstep,
    stripes,
    sum_octaves,
    to_cell,
)
from ff_jax.data.synthetic.types import BARK, CABIN, FOLIAGE, LAMP, METAL, PAINT, PLAIN, ROOF, SIGN, TIRE
from ff_jax.data.synthetic.vectors import norm

# Columns of `style` for a vehicle body.
FRONT_WHEEL, REAR_WHEEL, WHEEL_R, WHEEL_Z, BAND_LOW, BAND_HIGH, DOOR, LIGHTS = range(8)


class PrimitivePoint(NamedTuple):
    """A point on a primitive, in the primitive's frame."""

    material: Int[Array, "..."]
    point: Float[Array, "3 ..."]  # meters
    normal: Float[Array, "3 ..."]
    shape: Float[Array, "7 ..."]
    size: Float[Array, "..."]  # meters: footprint
    noise: Float[Array, "9 ..."]
    leaf: Float[Array, "..."]  # zero-mean noise that changes from leaf to leaf
    color: Float[Array, "3 ..."]
    trim: Float[Array, "3 ..."]
    style: Float[Array, "8 ..."]

    @property
    def half(self) -> Float[Array, "3 ..."]:
        """Compute the half extents of a box."""
        return jnp.stack([self.shape[0], self.shape[2], self.shape[3]])


def _matt(albedo: Color) -> Appearance:
    zero = jnp.zeros_like(albedo[0])
    return Appearance(albedo, zero, zero)


def texture_coordinates(
    material: Int[Array, "..."],
    world: Float[Array, "3 ..."],
    local: Float[Array, "3 ..."],
    normal: Float[Array, "3 ..."],
    seed: Float[Array, "..."],
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Compute the plane coordinates (meters) at which a primitive's noise is evaluated."""
    end = jnp.abs(normal[0]) > jnp.abs(normal[1])
    across = jnp.where(end, local[1], local[0])
    flat = normal[2] > 0.6
    x, y = across + 50.0 * seed, jnp.where(flat, local[1], local[2]) + 50.0 * seed
    around = jnp.arctan2(local[1], local[0]) * 0.4
    x = jnp.where(material == BARK, around + 0.7 * seed, x)
    y = jnp.where(material == BARK, world[2] * 0.3, y)
    x = jnp.where(material == FOLIAGE, world[0] + 0.7 * world[2], x)
    return x, jnp.where(material == FOLIAGE, world[1] + 0.8 * world[2], y)


def leaf_noise(world: Float[Array, "3 ..."], size: Float[Array, "..."]) -> Float[Array, "..."]:
    """Evaluate noise that is constant within cells of the size of a leaf, in [-0.5, 0.5]."""
    i, j, k = to_cell(world * jnp.array([11.0, 11.0, 14.0]).reshape(3, *(1,) * size.ndim))
    return (hash_unit(i + 131 * k, j - 57 * k, 65) - 0.5) * (1.0 - smoothstep(size, 0.05, 0.25))


def shading_normal(
    material: Int[Array, "..."],
    normal: Float[Array, "3 ..."],
    point: Float[Array, "3 ..."],
    shape: Float[Array, "7 ..."],
) -> Float[Array, "3 ..."]:
    """Compute the shading normal in the primitive's frame: car bodies are rounded, not flat."""
    half = jnp.maximum(jnp.stack([shape[0], shape[2], shape[3]]), 1e-3)
    amount = jnp.where((material == PAINT) | (material == CABIN), 0.45, 0.0)
    rounded = normal + amount * (point / half) ** 3
    return rounded / norm(rounded)


def _roof(spot: PrimitivePoint) -> Appearance:
    row = stripes(spot.point[2] * 1.2 + spot.point[1] * 0.3, 0.3, 0.05, spot.size)
    return _matt(spot.color * (1.0 + sum_octaves(spot.noise, (0.0, 0.25, 0.25, 0.2, 0.25))) * (1.0 - 0.4 * row))


def _lights(spot: PrimitivePoint) -> Color:
    """Draw grille, lamps and number plate on the ends of a vehicle body."""
    p, half, size = spot.point, spot.half, spot.size
    end = smoothstep(jnp.abs(spot.normal[0]), 0.5, 0.7)
    front = spot.normal[0] > 0
    z = p[2] / half[2]
    lamp = band(jnp.abs(p[1]) - 0.76 * half[1], 0.17 * half[1], size) * band(z - 0.25, 0.2, size / half[2])
    lamp = lamp * end * (spot.style[LIGHTS] > 0.5)
    grille = rect(p[1], p[2] + 0.1 * half[2], 0.5 * half[1], 0.28 * half[2], size) * front * end
    plate = rect(p[1], p[2] + 0.35 * half[2], 0.26, 0.06, size) * end * (spot.style[LIGHTS] > 0.5)
    lamp_color = jnp.where(front, constant_color((0.75, 0.78, 0.8), z), constant_color((0.42, 0.015, 0.012), z))
    dark = constant_color((0.02, 0.02, 0.022), z) * (1.0 + 1.5 * stripes(p[2], 0.05, 0.02, size))
    color = mix(mix(spot.color, dark, grille), lamp_color, lamp)
    return mix(color, constant_color((0.6, 0.6, 0.56), z), plate)


def _arches(spot: PrimitivePoint) -> Float[Array, "..."]:
    """Compute the coverage of the dark wheel arches."""
    arch = jnp.zeros_like(spot.size)
    for column in (FRONT_WHEEL, REAR_WHEEL):
        r = jnp.sqrt((spot.point[0] - spot.style[column]) ** 2 + (spot.point[2] - spot.style[WHEEL_Z]) ** 2)
        arch = jnp.maximum(arch, jnp.clip((1.18 * spot.style[WHEEL_R] - r) / (spot.size + 1e-3) + 0.5, 0, 1))
    return arch * smoothstep(jnp.abs(spot.normal[1]), 0.5, 0.7)


def _body(spot: PrimitivePoint) -> Appearance:
    """Paint sheet metal with wheel arches, door gaps, skirts, window band and lamps."""
    p, half, size, style = spot.point, spot.half, spot.size, spot.style
    side = smoothstep(jnp.abs(spot.normal[1]), 0.5, 0.7)
    gap = band(jnp.abs(p[0] + 0.12) - style[DOOR], 0.009, size) + band(p[0] + 0.1, 0.009, size)
    handle = rect(jnp.abs(p[0] + 0.12) - style[DOOR] + 0.25, p[2] - 0.45 * half[2], 0.09, 0.018, size)
    has_gaps = side * (style[DOOR] > 0)
    albedo = _lights(spot) * (1.0 - 0.75 * jnp.minimum(gap, 1.0) * has_gaps) * (1.0 - 0.5 * handle * has_gaps)
    skirt = smoothstep(p[2] + half[2], 0.16, 0.12) * (style[WHEEL_R] > 0)
    arch = _arches(spot)
    albedo = mix(mix(albedo, spot.trim, skirt), 0.008, arch)
    middle, extent = 0.5 * (style[BAND_HIGH] + style[BAND_LOW]), 0.5 * (style[BAND_HIGH] - style[BAND_LOW])
    glass = band(p[2] - middle, jnp.maximum(extent, 0.0), size) * (extent > 0) * (jnp.abs(spot.normal[2]) < 0.6)
    glass = glass * (1.0 - stripes(p[0] + 0.06, 1.5, 0.12, size) * side)
    albedo = mix(albedo, constant_color((0.02, 0.022, 0.025), size), glass)
    # Cargo boxes: ribs and a colored stripe.
    cargo = (style[DOOR] < 0) * side
    albedo = mix(albedo, spot.trim, band(p[2] - 0.25 * half[2], 0.2, size) * cargo)
    albedo = albedo * (1.0 - 0.3 * stripes(p[0], 0.6, 0.035, size) * cargo)
    albedo = albedo * (1.0 + sum_octaves(spot.noise, (0.0, 0.05, 0.08, 0.12, 0.12)))
    return Appearance(albedo, jnp.maximum(glass, 0.35 * (1.0 - arch) * (1.0 - skirt)), 0 * size)


def _cabin(spot: PrimitivePoint) -> Appearance:
    """Paint the cabin of a car: panes between pillars under a roof."""
    p, half, size, style = spot.point, spot.half, spot.size, spot.style
    up = spot.normal[2] > 0.75
    side = jnp.abs(spot.normal[1]) > 0.6
    v = band(p[2] + 0.02, 0.80 * half[2], size)
    pillar = jnp.zeros_like(size)
    for k in range(3):
        pillar = jnp.maximum(pillar, band(p[0] - style[k] - 0.12 * p[2], 0.045, size))
    across = band(p[1], half[1] * 0.86 - 0.1 * (p[2] + half[2]), size)
    glass = jnp.where(side, v * (1.0 - pillar) * (p[0] > style[3]), v * across) * ~up
    color = mix(spot.color, constant_color((0.018, 0.02, 0.022), size), glass)
    return Appearance(color, jnp.where(up, 0.35, jnp.maximum(glass, 0.3)), 0 * size)


def _tire(spot: PrimitivePoint) -> Appearance:
    p = spot.point
    r = jnp.sqrt(p[0] ** 2 + p[2] ** 2) / spot.shape[0]
    angle = jnp.arctan2(p[2], p[0]) * (5.0 / (2 * jnp.pi))
    spoke = jnp.abs(angle - jnp.round(angle)) < 0.22
    rim = (r < 0.64) & (jnp.abs(p[1]) > spot.shape[2] - 0.004)
    metal = jnp.where(spoke | (r < 0.2) | (r > 0.56), 0.38, 0.03)
    return Appearance(
        constant_color((1.0, 1.0, 1.0), r) * jnp.where(rim, metal, 0.022), jnp.where(rim, 0.2, 0.0), 0 * r
    )


def _leaves(spot: PrimitivePoint) -> Appearance:
    spots = sum_octaves(spot.noise, (0.3, 0.5, 0.6, 0.3, 0.3)) + 1.1 * spot.leaf
    hue = sum_octaves(spot.noise, (), (1.0, 0.0, 0.6))[None]
    color = mix(spot.color, spot.color * constant_color((1.6, 1.15, 0.6), spot.size), jnp.clip(hue + 0.2, 0.0, 1.0))
    low = smoothstep(spot.point[2] / jnp.maximum(spot.shape[2], 1e-3), -1.1, 0.4)
    return _matt(color * jnp.maximum(1.0 + 1.3 * spots, 0.12) * (0.45 + 0.55 * low))


def _sign(spot: PrimitivePoint) -> Appearance:
    half = jnp.maximum(spot.half, 1e-3)
    u, v, w = spot.point[1] / half[1], spot.point[2] / half[2], spot.size / half[1]
    r = jnp.maximum(jnp.abs(u), jnp.abs(v))
    border = 1.0 - band(r, 0.8, w)
    bar = jnp.maximum(rect(u + v * 0.4, v, 0.16, 0.55, w), rect(u, v - 0.35, 0.45, 0.13, w))
    text = (hash_unit(to_cell(u * 6), to_cell(v * 5) + to_cell(spot.style[0] * 99), 71) > 0.5) * band(r, 0.7, w)
    mark = jnp.where(spot.style[1] > 0.5, text, bar)
    face = mix(spot.color, spot.trim, jnp.maximum(mark, border))
    return _matt(jnp.where(spot.normal[0] < -0.5, face, 0.25))


def _house(spot: PrimitivePoint) -> Appearance:
    half = spot.half
    end = jnp.abs(spot.normal[0]) > jnp.abs(spot.normal[1])
    u, width = jnp.where(end, spot.point[1], spot.point[0]), jnp.where(end, half[1], half[0])
    wall = facade(
        WallPoint(u, spot.point[2] + half[2], width, 2 * half[2], spot.size, spot.noise),
        spot.color,
        spot.trim,
        spot.style,
    )
    flat = spot.normal[2] > 0.6
    return Appearance(jnp.where(flat, 0.19, wall.albedo), wall.gloss * ~flat, wall.glow * ~flat)


def primitive_appearance(spot: PrimitivePoint) -> Appearance:
    """Compute the appearance of a primitive's surface."""
    zero = 0 * spot.size
    bark = spot.color * (1.0 + sum_octaves(spot.noise, (0.6, 0.5, 0.3), (0.0, 0.3)))
    metal = spot.color * (1.0 + sum_octaves(spot.noise, (0.15, 0.15, 0.2)))
    looks = (
        (ROOF, _roof(spot)),
        (PAINT, _body(spot)),
        (CABIN, _cabin(spot)),
        (TIRE, _tire(spot)),
        (FOLIAGE, _leaves(spot)),
        (BARK, _matt(bark)),
        (METAL, _matt(metal)),
        (SIGN, _sign(spot)),
        (PLAIN, _matt(spot.color)),
        (LAMP, Appearance(spot.color, zero, zero + 0.8)),
    )
    out = _house(spot)  # FACADE
    for code, appearance in looks:
        out = Appearance(*(jnp.where(spot.material == code, a, b) for a, b in zip(appearance, out, strict=True)))
    return out
