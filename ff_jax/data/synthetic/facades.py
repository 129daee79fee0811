"""Procedural house fronts: walls, windows, doors and shops as functions of the position on the face of a box."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

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

# Columns of `style` for a house front.
CELL, FLOOR, WINDOW_W, WINDOW_H, GROUND_FLOOR, BRICK, SHOP, SEED = range(8)
SIGNS = ((0.45, 0.05, 0.04), (0.04, 0.12, 0.35), (0.05, 0.25, 0.12), (0.5, 0.32, 0.03), (0.07, 0.07, 0.08))


Scalar = Float[Array, "..."]
Color = Float[Array, "3 ..."]  # linear albedo
Style = Float[Array, "8 ..."]


class Appearance(NamedTuple):
    """Surface properties before light falls on them."""

    albedo: Float[Array, "3 ..."]
    gloss: Float[Array, "..."]  # 0: matt, 1: glass
    glow: Float[Array, "..."]  # emitted light


class WallPoint(NamedTuple):
    """A point of a wall that a ray hits."""

    u: Float[Array, "..."]  # meters from the middle of the face
    height: Float[Array, "..."]  # meters above the foot of the box
    half: Float[Array, "..."]  # meters: half width of the face
    top: Float[Array, "..."]  # meters: height of the box
    size: Float[Array, "..."]  # meters: footprint
    noise: Float[Array, "9 ..."]


class Pane(NamedTuple):
    """A point of a window pane in the grid of windows."""

    column: Int[Array, "..."]
    floor: Int[Array, "..."]
    u: Float[Array, "..."]  # meters from the middle of the window
    v: Float[Array, "..."]
    half_width: Float[Array, "..."]  # meters
    half_height: Float[Array, "..."]  # meters


def _wall(face: WallPoint, color: Color, trim: Color, style: Style) -> Color:
    seed = to_cell(style[SEED] * 997.0)
    row = to_cell(face.height / 0.075)
    u = face.u + 0.115 * (row % 2)
    joint = jnp.maximum(stripes(face.height, 0.075, 0.012, face.size), stripes(u, 0.23, 0.012, face.size))
    brick = hash_unit(to_cell(u / 0.23) + seed, row, 31) - 0.5
    brick = brick * (1.0 - smoothstep(face.size, 0.06, 0.2))
    stain = sum_octaves(face.noise, (0.3, 0.12, 0.12, 0.2, 0.3, 0.15))
    wall = color * (1.0 + 0.8 * stain)
    bricks = mix(color * (1.0 + 0.5 * brick + 0.5 * stain), 0.33, 0.75 * joint)
    wall = jnp.where(style[BRICK] > 0.5, bricks, wall)
    # Rain streaks below the roof and splashes above the ground.
    weather = 1.0 - 0.25 * smoothstep(face.height, 1.0, 0.0) - 0.18 * smoothstep(face.top - face.height, 1.5, 0.0)
    level = face.height - style[GROUND_FLOOR]
    course = jnp.where(level > -0.4, stripes(level + 0.16, style[FLOOR], 0.16, face.size), 0.0)
    corner = band(face.half - jnp.abs(face.u) - 0.2, 0.2, face.size) * (style[SEED] > 0.5)
    stone = jnp.maximum(course * (style[SEED] < 0.6), corner) * 0.8
    return mix(wall, (0.4 * trim + 0.2) * (1 + 0.5 * stain), stone) * weather


def _pane(cell: Pane, size: Scalar, seed: Int[Array, "..."]) -> tuple[Color, Scalar]:
    """Compute albedo and glow of the interior behind a window pane: room, curtain or blind."""
    i, j, u, v, half_w, half_h = cell
    room = hash_unit(i, j * 7 + seed, 33)
    cloth = hash_unit(i + seed, j, 34)
    side = smoothstep(jnp.abs(u) / half_w, 0.35, 0.55)
    curtain = jnp.where(cloth < 0.4, side, (v > half_h * (2.2 * cloth - 1.6)) * 1.0)
    fold = 0.75 + 0.25 * stripes(u, 0.11, 0.05, size)
    color = mix(constant_color((0.015, 0.017, 0.02), u), constant_color((0.035, 0.03, 0.025), u), room)
    color = mix(color, constant_color((0.42, 0.40, 0.35), u) * fold, curtain * (cloth < 0.8) * 0.8)
    shadow = 1.0 - 0.5 * smoothstep(half_h - v, 0.28, 0.0) - 0.35 * smoothstep(half_w - jnp.abs(u), 0.12, 0.0)
    return color * shadow, jnp.where(room > 0.95, 0.25, 0.0)


def _windows(face: WallPoint, wall: Color, trim: Color, style: Style) -> Appearance:
    """Set windows into the wall, one grid above the ground floor and one within it."""
    count = jnp.maximum(jnp.round(2 * face.half / style[CELL]), 1.0)
    cell_w = 2 * face.half / count
    x = (face.u + face.half) / cell_w
    level = face.height - style[GROUND_FLOOR]
    y = jnp.where(level >= 0, level / style[FLOOR], level / style[GROUND_FLOOR])
    i, j = to_cell(x), to_cell(y)
    floor = jnp.where(level >= 0, style[FLOOR], style[GROUND_FLOOR])
    u, v = (x - i - 0.5) * cell_w, (y - j - 0.5) * floor - 0.05 - 0.15 * (level < 0)
    half_w = 0.5 * style[WINDOW_W] * cell_w
    half_h = 0.5 * style[WINDOW_H] * style[FLOOR]
    fits = (level < 0) | ((j + 1) * style[FLOOR] + style[GROUND_FLOOR] < face.top + 0.3)
    outer = rect(u, v, half_w + 0.09, half_h + 0.09, face.size) * fits
    inner = rect(u, v, half_w, half_h, face.size) * fits
    bars = jnp.maximum(band(u, 0.025, face.size), band(v - 0.3 * half_h, 0.025, face.size))
    sill = rect(u, v + half_h + 0.13, half_w + 0.16, 0.06, face.size) * fits
    below = rect(u, v + half_h + 0.33, half_w + 0.16, 0.14, face.size) * fits
    pane, glow = _pane(Pane(i, j, u, v, half_w, half_h), face.size, to_cell(style[SEED] * 997.0))
    color = mix(wall * (1.0 - 0.35 * below), trim, jnp.maximum(outer, sill))
    return Appearance(mix(color, mix(pane, trim, bars), inner), inner * (1.0 - bars), glow * inner)


def _sign_color(style: Style) -> Color:
    k = to_cell(style[SEED] * 997.0) % len(SIGNS)
    return jnp.moveaxis(jnp.asarray(SIGNS, jnp.float32)[k], -1, 0)


def _shop(face: WallPoint, appearance: Appearance, style: Style) -> Appearance:
    """Replace the ground floor by shop windows, shop doors and a sign band."""
    seed, sign_color = to_cell(style[SEED] * 997.0), _sign_color(style)
    top = style[GROUND_FLOOR]
    pitch = jnp.maximum(2 * face.half / jnp.maximum(jnp.round(face.half / 1.7), 1.0), 1.5)
    x = (face.u + face.half) / pitch
    i = to_cell(x)
    u = (x - i - 0.5) * pitch
    door = hash_unit(i, seed, 41) < 0.3
    foot = jnp.where(door, 0.05, 0.55)
    v, half_h = face.height - 0.5 * (foot + top - 1.0), 0.5 * (top - 1.0 - foot)
    half_w = jnp.where(door, 0.55, 0.5 * pitch - 0.22)
    inner = rect(u, v, half_w, half_h, face.size)
    frame = rect(u, v, half_w + 0.07, half_h + 0.07, face.size) - inner
    goods = sum_octaves(face.noise, (0.0, 0.2, 0.0, 0.4), (0.9, 0.6))
    glass = constant_color((0.05, 0.05, 0.05), u) * (1.0 + 1.6 * goods) + 0.25 * sign_color * smoothstep(
        goods, 0.1, 0.4
    )
    above = face.height - (top - 0.5)
    sign = band(above, 0.32, face.size) * band(face.u, face.half - 0.2, face.size)
    letter = hash_unit(to_cell(face.u / 0.16), to_cell(face.height / 0.13) + seed, 43) > 0.5
    text = band(above, 0.17, face.size) * band(face.u, jnp.minimum(face.half * 0.55, 2.8), face.size)
    color = mix(appearance.albedo, sign_color * 0.9, sign)
    color = mix(color, 0.75, 0.8 * text * letter * (1.0 - smoothstep(face.size, 0.1, 0.4)))
    color = mix(mix(color, constant_color((0.07, 0.07, 0.07), u), frame), glass, inner)
    here = (face.height < top) & (style[SHOP] > 0.5)
    return Appearance(
        jnp.where(here, color, appearance.albedo),
        jnp.where(here, inner * 0.9, appearance.gloss),
        appearance.glow * ~here,
    )


def _door(face: WallPoint, appearance: Appearance, style: Style) -> Appearance:
    """Put a house door with a frame into the ground floor of a house without a shop."""
    seed = to_cell(style[SEED] * 997.0)
    u = face.u - (hash_unit(seed, seed, 44) - 0.5) * face.half
    entry = rect(u, face.height - 1.1, 0.55, 1.15, face.size)
    panel = rect(u, face.height - 1.2, 0.4, 0.75, face.size)
    frame = rect(u, face.height - 1.15, 0.7, 1.32, face.size)
    color = mix(appearance.albedo, constant_color((0.5, 0.48, 0.44), u), frame)
    color = mix(color, _sign_color(style) * 0.6 * (1.0 - 0.25 * panel), entry)
    here = (face.height < 2.6) & (style[SHOP] <= 0.5) & (style[GROUND_FLOOR] > 1.0) & (jnp.abs(u) < 0.8)
    return Appearance(jnp.where(here, color, appearance.albedo), appearance.gloss * ~here, appearance.glow * ~here)


def facade(face: WallPoint, color: Color, trim: Color, style: Style) -> Appearance:
    """Compute the appearance of a house wall."""
    appearance = _windows(face, _wall(face, color, trim, style), trim, style)
    return _shop(face, _door(face, appearance, style), style)
