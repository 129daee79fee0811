"""Rows of houses on both sides of the street, a second row behind and a closure at its end (host side)."""

import numpy as np

from ff_jax.data.synthetic.ground import place
from ff_jax.data.synthetic.primitive_builders import Color, Part, at, box, cylinder, panel
from ff_jax.data.synthetic.types import FACADE, FOLIAGE, METAL, PLAIN, ROOF

WALLS: tuple[Color, ...] = (
    (0.36, 0.13, 0.08),  # red brick
    (0.30, 0.17, 0.11),  # brown brick
    (0.42, 0.34, 0.22),  # sandstone
    (0.55, 0.48, 0.36),  # cream
    (0.46, 0.45, 0.43),  # grey plaster
    (0.56, 0.36, 0.20),  # ochre
    (0.30, 0.38, 0.42),  # blue grey
    (0.50, 0.27, 0.20),  # terracotta
    (0.58, 0.56, 0.52),  # off-white
    (0.34, 0.37, 0.27),  # sage
)
TRIMS: tuple[Color, ...] = ((0.62, 0.61, 0.58), (0.5, 0.47, 0.4), (0.08, 0.08, 0.09), (0.2, 0.11, 0.06))
SIGNS: tuple[Color, ...] = (
    (0.45, 0.05, 0.04),
    (0.04, 0.12, 0.35),
    (0.05, 0.25, 0.12),
    (0.5, 0.32, 0.03),
    (0.07, 0.07, 0.08),
)
TILES: tuple[Color, ...] = ((0.26, 0.09, 0.05), (0.10, 0.09, 0.09), (0.17, 0.12, 0.09), (0.13, 0.14, 0.16))


def _pick(rng: np.random.Generator, choices):
    return choices[int(rng.integers(len(choices)))]


def _style(rng, floors: int, brick: bool, shop: bool):
    """Return the style columns of a front and the height of the building."""
    ground, floor = rng.uniform(3.4, 4.3), rng.uniform(2.9, 3.4)
    modern = rng.random() < 0.2
    window = (
        (rng.uniform(0.72, 0.88), rng.uniform(0.55, 0.72))
        if modern
        else (rng.uniform(0.3, 0.52), rng.uniform(0.46, 0.64))
    )
    style = (rng.uniform(2.2, 3.4), floor, *window, ground, float(brick), float(shop), rng.random())
    return style, ground + floors * floor + rng.uniform(0.4, 0.9)


def _roof(rng, width, depth, height, color):
    """Return a pitched roof with chimney, or a parapet with a cornice."""
    if rng.random() < 0.5:
        rise = rng.uniform(2.2, 3.6)
        hip = rng.uniform(0.0, 2.5)
        parts = [
            box(
                (0, 0, height + rise / 2),
                (width + 0.3, depth + 0.8, rise),
                ROOF,
                _pick(rng, TILES),
                taper=(hip, hip, depth / 2 + 0.3),
            ),
        ]
        x = rng.uniform(-0.35, 0.35) * width
        return [*parts, box((x, depth * 0.1, height + rise), (0.7, 0.6, 1.8), PLAIN, (0.25, 0.13, 0.09))]
    edge = tuple(0.85 * c for c in color)
    parts = [box((0, 0, height - 0.1), (width + 0.5, depth + 0.5, 0.35), PLAIN, edge)]
    if rng.random() < 0.6:
        x = rng.uniform(-0.3, 0.3) * width
        parts.append(box((x, 0, height + 1.1), (3.0, 3.0, 2.4), PLAIN, (0.32, 0.31, 0.3)))
    return parts


def _balconies(rng, style, width, depth, floors):
    """Return slabs with railings in front of some windows (the street side is -y)."""
    cells = max(round(width / style[0]), 1)
    cell = width / cells
    columns = [i for i in range(cells) if rng.random() < 0.4][:2]
    parts: list[Part] = []
    for i in columns:
        x = (i + 0.5) * cell - width / 2
        for j in range(min(floors, 3)):
            z = style[4] + j * style[1] + 0.05
            parts.append(box((x, -depth / 2 - 0.5, z), (cell * 0.9, 1.0, 0.14), PLAIN, (0.42, 0.41, 0.39)))
            rail = (x, -depth / 2 - 0.98, z + 0.55)
            parts.append(panel(rail, cell * 0.9, 1.0, METAL, (0.05, 0.05, 0.06), period=0.13, duty=0.25))
    return parts


def _extras(rng, style, width, depth, floors, color, shop, sign):
    """Return what stands out of the front: balconies, a bay, an awning, steps, drain pipes."""
    front = -depth / 2
    parts: list[Part] = [cylinder((width / 2 - 0.25, front - 0.06, 4.5), 0.05, 9.0, METAL, (0.12, 0.12, 0.12))]
    choice = rng.random()
    if choice < 0.35 and floors >= 2:
        parts += _balconies(rng, style, width, depth, floors)
    elif choice < 0.6 and floors >= 2:
        x, tall = rng.uniform(-0.3, 0.3) * width, floors * style[1] - 0.4
        bay = (2.0 * style[0], 1.3, tall)
        own = (*style[:4], 0.1, *style[5:6], 0.0, style[7])
        parts.append(
            box(
                (x, front - 0.2, style[4] + tall / 2),
                bay,
                FACADE,
                color,
                trim=TRIMS[0],
                style=own,
                taper=(0.0, 0.0, 0.0),
            )
        )
    if shop and rng.random() < 0.7:
        length, x = rng.uniform(2.5, 5.0), rng.uniform(-0.25, 0.25) * width
        parts.append(box((x, front - 0.6, 2.75), (length, 1.3, 0.5), PLAIN, sign, taper=(0.0, 0.0, 0.55)))
    if not shop:
        parts.append(box((0.0, front - 0.4, 0.25), (1.8, 0.9, 0.3), PLAIN, (0.36, 0.35, 0.33)))
    return parts


def _house(rng, width, depth, floors, detailed):
    """Return a house about the origin; its front looks along -y."""
    brick, shop = rng.random() < 0.5, rng.random() < 0.45
    color = _pick(rng, WALLS[:3] if brick else WALLS[2:])
    color = tuple(float(np.clip(c * rng.uniform(0.8, 1.15), 0, 0.8)) for c in color)
    sign = _pick(rng, SIGNS)
    style, height = _style(rng, floors, brick, shop)
    body = box(
        (0, 0, height / 2),
        (width, depth, height),
        FACADE,
        color,
        trim=_pick(rng, TRIMS),
        style=style,
    )
    parts = [body, *_roof(rng, width, depth, height, color)]
    return parts + (_extras(rng, style, width, depth, floors, color, shop, sign) if detailed else [])


def _row(rng, curvature, side, line, low, high):
    """Return one front row: `side` is +1 on the left; `line` is the n of the fronts."""
    parts: list[Part] = []
    s = low + rng.uniform(0, 6)
    while s < high:
        width, depth = rng.uniform(9, 19), rng.uniform(9, 13)
        floors = int(rng.integers(1, 5))
        middle = s + width / 2
        setback = rng.choice([0.0, 0.0, 0.4, 1.6])
        x, y = place(curvature, middle, line + side * (setback + depth / 2))
        turn = curvature * middle + (0.0 if side > 0 else np.pi)
        detailed = -12 < middle < 95
        parts += [at(p, (x, y, 0.0), turn) for p in _house(rng, width, depth, floors, detailed)]
        gap = rng.uniform(2.5, 6.0) if rng.random() < 0.4 else 0.02
        if gap > 1:
            x, y = place(curvature, s + width + gap / 2, line + side * 0.6)
            fence = panel((x, y, 0.95), gap, 1.6, METAL, (0.14, 0.09, 0.06), period=0.16, duty=0.62, yaw=turn)
            x, y = place(curvature, s + width + gap / 2, line + side * 6.0)
            hedge = box((x, y, 1.1), (gap, 1.5, 2.2), FOLIAGE, (0.05, 0.1, 0.02), yaw=turn)
            parts += [fence, hedge]
        s += width + gap
    return parts


def _second_row(rng, curvature, side, line, low, high):
    parts: list[Part] = []
    s = low
    while s < high:
        width, depth, floors = rng.uniform(14, 26), rng.uniform(10, 14), int(rng.integers(3, 8))
        x, y = place(curvature, s + width / 2, line + side * (26 + depth))
        turn = curvature * s + (0.0 if side > 0 else np.pi)
        parts += [at(p, (x, y, 0.0), turn) for p in _house(rng, width, depth, floors, False)]
        s += width + rng.uniform(4, 18)
    return parts


def houses(
    rng: np.random.Generator, curvature: float, right: float, left: float, low: float, high: float
) -> list[Part]:
    """Return all houses between `low` and `high` metres of a street; `right`, `left`: building lines."""
    parts = _row(rng, curvature, -1, right, low, high) + _row(rng, curvature, 1, left, low, high)
    parts += _second_row(rng, curvature, -1, right, low, high) + _second_row(rng, curvature, 1, left, low, high)
    for n in np.arange(right - 12.0, left + 13.0, 15.0):  # a cross street closes the view
        x, y = place(curvature, high + 26.0, n)
        turn = curvature * high - np.pi / 2
        parts += [at(p, (x, y, 0.0), turn) for p in _house(rng, 14.5, 12.0, int(rng.integers(3, 6)), False)]
    return parts
