"""Look of everything that is not the street surface or a house wall."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from ff_jax.data.world.facade import Face, Look, facade
from ff_jax.data.world.noise import band, fbm, hash_unit, mix, rect, smooth, stripes, tint, to_cell
from ff_jax.data.world.types import BARK, CABIN, FACADE, FOLIAGE, LAMP, METAL, PAINT, PLAIN, ROOF, SIGN, TYRE

# Columns of `style` for a vehicle body.
FRONT_WHEEL, REAR_WHEEL, WHEEL_R, WHEEL_Z, BAND_LOW, BAND_HIGH, DOOR, LIGHTS = range(8)


def _matt(albedo):
    zero = jnp.zeros_like(albedo[0])
    return Look(albedo, zero, zero)


def _roof(p, size, color):
    row = stripes(p[2] * 1.2 + p[1] * 0.3, 0.3, 0.05, size)
    grain = fbm(p[0], p[1] + p[2], size, ((0.1, 0.4), (0.5, 0.4), (3.0, 0.4)), 51)
    return _matt(color * (1.0 + 0.6 * grain) * (1.0 - 0.4 * row))


def _lights(p, half, normal, style, size, color, trim):
    """Draw grille, lamps and number plate on the ends of a vehicle body."""
    end = smooth(jnp.abs(normal[0]), 0.5, 0.7)
    front = normal[0] > 0
    z = p[2] / half[2]
    lamp = band(jnp.abs(p[1]) - 0.76 * half[1], 0.17 * half[1], size) * band(z - 0.25, 0.2, size / half[2])
    grille = rect(p[1], p[2] + 0.1 * half[2], 0.5 * half[1], 0.28 * half[2], size) * front
    plate = rect(p[1], p[2] + 0.35 * half[2], 0.26, 0.06, size)
    lamp_color = jnp.where(front, tint((0.75, 0.78, 0.8), z), tint((0.42, 0.015, 0.012), z))
    color = mix(
        color, tint((0.02, 0.02, 0.022), z) * (1.0 + 1.5 * stripes(p[2], 0.05, 0.02, size)), grille * end
    )
    color = mix(color, lamp_color, lamp * end * (style[LIGHTS] > 0.5))
    return mix(color, tint((0.6, 0.6, 0.56), z), plate * end * (style[LIGHTS] > 0.5)), lamp * end


def _body(p, half, normal, style, size, color, trim):
    """Painted sheet metal with wheel arches, door gaps, skirts, window band and lamps."""
    side = smooth(jnp.abs(normal[1]), 0.5, 0.7)
    albedo, lamp = _lights(p, half, normal, style, size, color, trim)
    gap = band(jnp.abs(p[0] + 0.12) - style[DOOR], 0.009, size) + band(p[0] + 0.1, 0.009, size)
    handle = rect(jnp.abs(p[0] + 0.12) - style[DOOR] + 0.25, p[2] - 0.45 * half[2], 0.09, 0.018, size)
    lined = side * (style[DOOR] > 0)
    albedo = albedo * (1.0 - 0.75 * jnp.minimum(gap, 1.0) * lined) * (1.0 - 0.5 * handle * lined)
    skirt = smooth(p[2] + half[2], 0.16, 0.12) * (style[WHEEL_R] > 0)
    albedo = mix(albedo, trim, skirt)
    arch = jnp.zeros_like(p[0])
    for column in (FRONT_WHEEL, REAR_WHEEL):
        r = jnp.sqrt((p[0] - style[column]) ** 2 + (p[2] - style[WHEEL_Z]) ** 2)
        arch = jnp.maximum(
            arch,
            smooth(r, 1.0, 0.97)
            if False
            else jnp.clip((1.18 * style[WHEEL_R] - r) / (size + 1e-3) + 0.5, 0, 1),
        )
    albedo = mix(albedo, 0.008, arch * side)
    tall = style[BAND_HIGH] > style[BAND_LOW]
    middle, extent = 0.5 * (style[BAND_HIGH] + style[BAND_LOW]), 0.5 * (style[BAND_HIGH] - style[BAND_LOW])
    glass = band(p[2] - middle, jnp.maximum(extent, 0.0), size) * tall * (jnp.abs(normal[2]) < 0.6)
    pillar = stripes(p[0] + 0.06, 1.5, 0.12, size) * side
    glass = glass * (1.0 - pillar)
    albedo = mix(albedo, tint((0.02, 0.022, 0.025), p[0]), glass)
    return Look(
        albedo,
        jnp.maximum(glass, 0.35 * (1.0 - arch * side) * (1.0 - skirt)),
        0.6 * lamp * (style[LIGHTS] > 1.5),
    )


def _cabin(p, half, normal, style, size, color):
    """Glass house of a car: panes between painted pillars under a painted roof."""
    up = normal[2] > 0.75
    side = jnp.abs(normal[1]) > 0.6
    v = band(p[2] + 0.02, 0.80 * half[2], size)
    pillar = jnp.zeros_like(size)
    for k in range(3):
        pillar = jnp.maximum(pillar, band(p[0] - style[k] - 0.12 * p[2], 0.045, size))
    across = band(p[1], half[1] * 0.86 - 0.35 * (p[2] + half[2]) * 0.3, size)
    glass = jnp.where(side, v * (1.0 - pillar) * (p[0] > style[3]), v * across) * ~up
    return Look(
        mix(color, tint((0.018, 0.02, 0.022), size), glass),
        jnp.where(up, 0.35, jnp.maximum(glass, 0.3)),
        0 * size,
    )


def _tyre(p, shape, size):
    r = jnp.sqrt(p[0] ** 2 + p[2] ** 2) / shape[0]
    flat = jnp.abs(p[1]) > shape[2] - 0.004
    angle = jnp.arctan2(p[2], p[0]) * (5.0 / (2 * jnp.pi))
    spoke = jnp.abs(angle - jnp.round(angle)) < 0.22
    rim = (r < 0.64) & flat
    metal = jnp.where(spoke | (r < 0.2) | (r > 0.56), 0.38, 0.03)
    return Look(
        tint((1.0, 1.0, 1.0), size) * jnp.where(rim, metal, 0.022), jnp.where(rim, 0.2, 0.0), 0 * size
    )


def _leaves(world, local, shape, size, color):
    x, y, z = world
    spots = fbm(x + 0.7 * z, y + 0.8 * z, size, ((0.05, 0.9), (0.14, 0.8), (0.4, 0.7), (1.3, 0.5)), 61)
    depth = jnp.sum((local / jnp.maximum(shape[:3], 1e-3)) ** 2, 0)
    hue = fbm(x - z, y + z, size, ((0.22, 1.0), (2.0, 0.6)), 62)[None]
    color = mix(color, color * tint((1.6, 1.15, 0.6), size), jnp.clip(hue + 0.2, 0.0, 1.0))
    low = smooth(local[2] / jnp.maximum(shape[2], 1e-3), -1.1, 0.4)
    return _matt(color * jnp.maximum(1.0 + 1.1 * spots, 0.15) * (0.45 + 0.55 * low) + 0 * depth)


def _bark(world, local, size, color):
    angle = jnp.arctan2(local[1], local[0])
    grain = fbm(angle * 0.9, world[2] * 0.25, size, ((0.05, 0.6), (0.2, 0.6)), 63)
    moss = fbm(angle, world[2], size, ((0.4, 0.5), (1.5, 0.4)), 64)
    return _matt(color * (1.0 + grain + 0.5 * moss))


def _sign(p, half, normal, style, size, color, trim):
    u, v = p[1] / jnp.maximum(half[1], 1e-3), p[2] / jnp.maximum(half[2], 1e-3)
    w = size / jnp.maximum(half[1], 1e-3)
    r = jnp.maximum(jnp.abs(u), jnp.abs(v))
    border = 1.0 - band(r, 0.8, w)
    bar = jnp.maximum(rect(u + v * 0.4, v, 0.16, 0.55, w), rect(u, v - 0.35, 0.45, 0.13, w))
    text = (hash_unit(to_cell(u * 6), to_cell(v * 5) + to_cell(style[0] * 99), 71) > 0.5) * band(r, 0.7, w)
    mark = jnp.where(style[1] > 0.5, text, bar)
    face = mix(color, trim, jnp.maximum(mark, border))
    return _matt(jnp.where(normal[0] < -0.5, face, 0.25))


def _metal(world, size, color):
    return _matt(color * (1.0 + fbm(world[0] + world[1], world[2], size, ((0.05, 0.3), (0.5, 0.3)), 72)))


def look_at(
    material: Int[Array, "..."],
    world: Float[Array, "3 ..."],
    local: Float[Array, "3 ..."],
    normal: Float[Array, "3 ..."],
    shape: Float[Array, "7 ..."],
    size: Float[Array, "..."],
    color: Float[Array, "3 ..."],
    trim: Float[Array, "3 ..."],
    style: Float[Array, "8 ..."],
) -> Look:
    """Return the look of a primitive's surface; `local` and `normal` are in the primitive's frame."""
    half = jnp.stack([shape[0], shape[2], shape[3]])  # of a box
    end = jnp.abs(normal[0]) > jnp.abs(normal[1])
    face = Face(
        jnp.where(end, local[1], local[0]),
        local[2] + half[2],
        jnp.where(end, half[1], half[0]),
        2 * half[2],
        size,
    )
    wall = facade(face, color, trim, style)
    flat = normal[2] > 0.6
    wall = Look(
        jnp.where(flat, tint((0.2, 0.19, 0.18), size), wall.albedo), wall.gloss * ~flat, wall.glow * ~flat
    )
    looks = (
        (FACADE, wall),
        (ROOF, _roof(local, size, color)),
        (PAINT, _body(local, half, normal, style, size, color, trim)),
        (CABIN, _cabin(local, half, normal, style, size, color)),
        (TYRE, _tyre(local, shape, size)),
        (FOLIAGE, _leaves(world, local, shape, size, color)),
        (BARK, _bark(world, local, size, color)),
        (METAL, _metal(world, size, color)),
        (SIGN, _sign(local, half, normal, style, size, color, trim)),
        (PLAIN, _matt(color)),
        (LAMP, Look(color, 0 * size, 0 * size + 0.8)),
    )
    out = looks[0][1]
    for code, look in looks[1:]:
        out = Look(*(jnp.where(material == code, a, b) for a, b in zip(look, out, strict=True)))
    return out
