"""Procedural house fronts: walls, windows, doors and shops from the place on the face of a box."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ff_jax.data.world.noise import band, fbm, hash_unit, mix, rect, smooth, stripes, tint, to_cell

# Columns of `style` for a house front.
CELL, FLOOR, WINDOW_W, WINDOW_H, GROUND_FLOOR, BRICK, SHOP, SEED = range(8)


class Look(NamedTuple):
    """Surface properties before light falls on them."""

    albedo: Float[Array, "3 ..."]
    gloss: Float[Array, "..."]  # 0: matt, 1: glass
    glow: Float[Array, "..."]  # emitted light


class Face(NamedTuple):
    """Where rays meet a wall."""

    u: Float[Array, "..."]  # metres from the middle of the face
    height: Float[Array, "..."]  # metres above the foot of the box
    half: Float[Array, "..."]  # metres: half width of the face
    top: Float[Array, "..."]  # metres: height of the box
    size: Float[Array, "..."]  # metres: footprint


def _wall(face: Face, color, trim, style):
    seed = to_cell(style[SEED] * 997.0)
    row = to_cell(face.height / 0.075)
    u = face.u + 0.115 * (row % 2)
    joint = jnp.maximum(stripes(face.height, 0.075, 0.012, face.size), stripes(u, 0.23, 0.012, face.size))
    brick = hash_unit(to_cell(u / 0.23) + seed, row, 31) - 0.5
    brick = brick * (1.0 - smooth(face.size, 0.06, 0.2))
    shift = style[SEED] * 50.0
    stain = fbm(
        face.u + shift,
        face.height * 0.5 + shift,
        face.size,
        ((0.04, 0.25), (0.3, 0.2), (1.6, 0.25), (6.0, 0.25)),
        32,
    )
    wall = color * (1.0 + 0.8 * stain)
    bricks = color * (1.0 + 0.5 * brick + 0.5 * stain)
    bricks = mix(bricks, 0.33, 0.75 * joint)
    wall = jnp.where(style[BRICK] > 0.5, bricks, wall)
    # Rain streaks below the roof and splashes above the ground.
    weather = 1.0 - 0.25 * smooth(face.height, 1.0, 0.0) - 0.18 * smooth(face.top - face.height, 1.5, 0.0)
    level = face.height - style[GROUND_FLOOR]
    course = jnp.where(level > -0.4, stripes(level + 0.16, style[FLOOR], 0.16, face.size), 0.0)
    corner = band(face.half - jnp.abs(face.u) - 0.2, 0.2, face.size) * (style[SEED] > 0.5)
    wall = mix(wall, trim * (1 + 0.5 * stain), jnp.maximum(course * (style[SEED] < 0.6), corner) * 0.8)
    return wall * weather


def _pane(cells, inner, u, v, half_w, half_h, size, seed):
    """Return albedo and glow of what is behind a window pane: room, curtain or blind."""
    room = hash_unit(cells[0], cells[1] * 7 + seed, 33)
    cloth = hash_unit(cells[0] + seed, cells[1], 34)
    drawn = jnp.where(
        cloth < 0.4, smooth(jnp.abs(u) / half_w, 0.35, 0.55), (v > half_h * (2.2 * cloth - 1.6)) * 1.0
    )
    fold = 0.75 + 0.25 * stripes(u, 0.11, 0.05, size)
    color = mix(tint((0.015, 0.017, 0.02), u), tint((0.035, 0.03, 0.025), u), room)
    color = mix(color, tint((0.42, 0.40, 0.35), u) * fold, drawn * (cloth < 0.8) * 0.8)
    shadow = 1.0 - 0.5 * smooth(half_h - v, 0.28, 0.0) - 0.35 * smooth(half_w - jnp.abs(u), 0.12, 0.0)
    return color * shadow, jnp.where(room > 0.95, 0.25, 0.0) * inner


def _windows(face: Face, wall, trim, style):
    count = jnp.maximum(jnp.round(2 * face.half / style[CELL]), 1.0)
    cell_w = 2 * face.half / count
    x = (face.u + face.half) / cell_w
    y = (face.height - style[GROUND_FLOOR]) / style[FLOOR]
    i, j = to_cell(x), to_cell(y)
    u = (x - i - 0.5) * cell_w
    v = (y - j - 0.5) * style[FLOOR] - 0.05
    half_w = 0.5 * style[WINDOW_W] * cell_w
    half_h = 0.5 * style[WINDOW_H] * style[FLOOR]
    fits = (y >= 0) & ((j + 1) * style[FLOOR] + style[GROUND_FLOOR] < face.top + 0.3)
    outer = rect(u, v, half_w + 0.09, half_h + 0.09, face.size) * fits
    inner = rect(u, v, half_w, half_h, face.size) * fits
    bars = jnp.maximum(band(u, 0.025, face.size), band(v - 0.3 * half_h, 0.025, face.size))
    sill = rect(u, v + half_h + 0.13, half_w + 0.16, 0.06, face.size) * fits
    below = rect(u, v + half_h + 0.33, half_w + 0.16, 0.14, face.size) * fits
    pane, glow = _pane((i, j), inner, u, v, half_w, half_h, face.size, to_cell(style[SEED] * 997.0))
    color = wall * (1.0 - 0.35 * below)
    color = mix(color, trim, jnp.maximum(outer, sill))
    color = mix(color, mix(pane, trim, bars), inner)
    return Look(color, inner * (1.0 - bars), glow)


def _shop(face: Face, look: Look, trim, style):
    """Replace the ground floor by shop windows, doors and a sign band, or by a house door."""
    seed = to_cell(style[SEED] * 997.0)
    top = style[GROUND_FLOOR]
    pitch = jnp.maximum(2 * face.half / jnp.maximum(jnp.round(face.half / 1.7), 1.0), 1.5)
    x = (face.u + face.half) / pitch
    i = to_cell(x)
    u = (x - i - 0.5) * pitch
    door = hash_unit(i, seed, 41) < 0.3
    foot = jnp.where(door, 0.05, 0.55)
    v = face.height - 0.5 * (foot + top - 1.0)
    half_h = 0.5 * (top - 1.0 - foot)
    half_w = jnp.where(door, 0.55, 0.5 * pitch - 0.22)
    inner = rect(u, v, half_w, half_h, face.size)
    frame = rect(u, v, half_w + 0.07, half_h + 0.07, face.size) - inner
    goods = fbm(face.u * 1.0, face.height, face.size, ((0.25, 0.8), (0.9, 0.7)), 42)
    glass = tint((0.05, 0.05, 0.05), u) * (1.0 + 1.6 * goods) + 0.25 * trim * smooth(goods, 0.1, 0.4)
    sign = band(face.height - (top - 0.5), 0.32, face.size) * band(face.u, face.half - 0.2, face.size)
    letter = hash_unit(to_cell(face.u / 0.16), to_cell(face.height / 0.13) + seed, 43) > 0.5
    text = band(face.height - (top - 0.5), 0.17, face.size) * band(
        face.u, jnp.minimum(face.half * 0.55, 2.8), face.size
    )
    color = mix(look.albedo, trim * 0.9, sign)
    color = mix(color, 0.75, 0.8 * text * letter * (1.0 - smooth(face.size, 0.1, 0.4)))
    color = mix(mix(color, tint((0.07, 0.07, 0.07), u), frame), glass, inner)
    is_shop = (face.height < top) & (style[SHOP] > 0.5)
    entry_u = face.u - (hash_unit(seed, seed, 44) - 0.5) * face.half
    entry = rect(entry_u, face.height - 1.1, 0.55, 1.15, face.size)
    panel = rect(entry_u, face.height - 1.2, 0.4, 0.75, face.size)
    frame = rect(entry_u, face.height - 1.15, 0.7, 1.32, face.size)
    house = mix(look.albedo, tint((0.5, 0.48, 0.44), u), frame)
    house = mix(house, trim * 0.45 * (1.0 - 0.25 * panel), entry)
    is_house = (face.height < 2.6) & (style[SHOP] <= 0.5) & (jnp.abs(entry_u) < 0.8)
    albedo = jnp.where(is_shop, color, jnp.where(is_house, house, look.albedo))
    gloss = jnp.where(is_shop, inner * 0.9, jnp.where(is_house, 0.0, look.gloss))
    return Look(albedo, gloss, jnp.where(is_shop | is_house, 0.0, look.glow))


def facade(
    face: Face, color: Float[Array, "3 ..."], trim: Float[Array, "3 ..."], style: Float[Array, "8 ..."]
) -> Look:
    """Return the look of a house wall."""
    look = _windows(face, _wall(face, color, trim, style), trim, style)
    # Low ground-floor windows of houses without a shop: the same grid, one storey down.
    lower = face._replace(height=face.height + style[FLOOR] * 0.98)
    small = _windows(lower, look.albedo, trim, style)
    low = (face.height < style[GROUND_FLOOR]) & (style[SHOP] <= 0.5)
    look = Look(*(jnp.where(low, a, b) for a, b in zip(small, look, strict=True)))
    return _shop(face, look, trim, style)
