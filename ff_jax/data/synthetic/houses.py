"""Build rows of houses on both sides of the street, a second row behind, and a row across its end (host side)."""

from typing import NamedTuple

import numpy as np

from ff_jax.data.synthetic.ground import street_to_world
from ff_jax.data.synthetic.primitive_builders import Color, Part, box, cylinder, move_part, panel, to_color
from ff_jax.data.synthetic.types import FACADE, FOLIAGE, METAL, PLAIN, ROOF

WALLS: tuple[Color, ...] = (
    (0.36, 0.13, 0.08),  # red brick
    (0.30, 0.17, 0.11),  # brown brick
    (0.42, 0.34, 0.22),  # sandstone
    (0.55, 0.48, 0.36),  # cream
    (0.46, 0.45, 0.43),  # gray plaster
    (0.56, 0.36, 0.20),  # ochre
    (0.30, 0.38, 0.42),  # blue gray
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


Style = tuple[float, ...]  # the 8 columns of a house front, see `facades`


class House(NamedTuple):
    """One house about the origin; its front faces -y."""

    width: float  # meters
    depth: float  # meters
    floors: int
    style: Style
    color: Color
    is_shop: bool
    sign: Color


def _pick(rng: np.random.Generator, colors: tuple[Color, ...]) -> Color:
    return colors[int(rng.integers(len(colors)))]


def _style(rng: np.random.Generator, floors: int, brick: bool, shop: bool) -> tuple[Style, float]:
    """Draw the style columns of a front and the height of the building."""
    ground, floor = rng.uniform(3.4, 4.3), rng.uniform(2.9, 3.4)
    modern = rng.random() < 0.2
    window = (
        (rng.uniform(0.72, 0.88), rng.uniform(0.55, 0.72))
        if modern
        else (rng.uniform(0.3, 0.52), rng.uniform(0.46, 0.64))
    )
    style = (rng.uniform(2.2, 3.4), floor, *window, ground, float(brick), float(shop), rng.random())
    return style, ground + floors * floor + rng.uniform(0.4, 0.9)


def _roof(rng: np.random.Generator, width: float, depth: float, height: float, color: Color) -> list[Part]:
    """Build a pitched roof with chimney, or a parapet with a cornice."""
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
            )
        ]
        x = rng.uniform(-0.35, 0.35) * width
        return [*parts, box((x, depth * 0.1, height + rise), (0.7, 0.6, 1.8), PLAIN, (0.25, 0.13, 0.09))]
    edge = to_color(0.85 * c for c in color)
    parts = [box((0, 0, height - 0.1), (width + 0.5, depth + 0.5, 0.35), PLAIN, edge)]
    if rng.random() < 0.6:
        x = rng.uniform(-0.3, 0.3) * width
        parts.append(box((x, 0, height + 1.1), (3.0, 3.0, 2.4), PLAIN, (0.32, 0.31, 0.3)))
    return parts


def _balconies(rng: np.random.Generator, house: House) -> list[Part]:
    """Build slabs with railings in front of some windows."""
    width, depth, floors, style = house[:4]
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
            parts.append(panel(rail, cell * 0.9, 1.0, METAL, (0.05, 0.05, 0.06), slats=(0.13, 0.25)))
    return parts


def _front_details(rng: np.random.Generator, house: House) -> list[Part]:
    """Build the details of the front: balconies, a bay, an awning, steps, a drain pipe."""
    width, depth, floors, style, color, shop, sign = house
    front = -depth / 2
    parts: list[Part] = [cylinder((width / 2 - 0.25, front - 0.06, 4.5), 0.05, 9.0, METAL, (0.12, 0.12, 0.12))]
    choice = rng.random()
    if choice < 0.35 and floors >= 2:
        parts += _balconies(rng, house)
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


def _house(rng: np.random.Generator, width: float, depth: float, floors: int, detailed: bool) -> list[Part]:
    """Build a house about the origin; its front faces -y."""
    brick, shop = rng.random() < 0.5, rng.random() < 0.45
    color = _pick(rng, WALLS[:3] if brick else WALLS[2:])
    color = to_color(np.clip(c * rng.uniform(0.8, 1.15), 0, 0.8) for c in color)
    sign = _pick(rng, SIGNS)
    style, height = _style(rng, floors, brick, shop)
    body = box((0, 0, height / 2), (width, depth, height), FACADE, color, trim=_pick(rng, TRIMS), style=style)
    parts = [body, *_roof(rng, width, depth, height, color)]
    house = House(width, depth, floors, style, color, shop, sign)
    return parts + (_front_details(rng, house) if detailed else [])


def _row(rng: np.random.Generator, curvature: float, side: int, line: float, low: float, high: float) -> list[Part]:
    """Build one front row: `side` is +1 on the left; `line` is the n of the fronts."""
    parts: list[Part] = []
    s = low + rng.uniform(0, 6)
    while s < high:
        width, depth = rng.uniform(9, 19), rng.uniform(9, 13)
        floors = int(rng.integers(1, 5))
        middle = s + width / 2
        setback = rng.choice([0.0, 0.0, 0.4, 1.6])
        x, y = street_to_world(curvature, middle, line + side * (setback + depth / 2))
        yaw = curvature * middle + (0.0 if side > 0 else np.pi)
        detailed = -12 < middle < 95
        parts += [move_part(p, (x, y, 0.0), yaw) for p in _house(rng, width, depth, floors, detailed)]
        gap = rng.uniform(2.5, 6.0) if rng.random() < 0.4 else 0.02
        if gap > 1:
            x, y = street_to_world(curvature, s + width + gap / 2, line + side * 0.6)
            fence = panel((x, y, 0.95), gap, 1.6, METAL, (0.14, 0.09, 0.06), slats=(0.16, 0.62), yaw=yaw)
            x, y = street_to_world(curvature, s + width + gap / 2, line + side * 6.0)
            hedge = box((x, y, 1.1), (gap, 1.5, 2.2), FOLIAGE, (0.05, 0.1, 0.02), yaw=yaw)
            parts += [fence, hedge]
        s += width + gap
    return parts


def _second_row(
    rng: np.random.Generator, curvature: float, side: int, line: float, low: float, high: float
) -> list[Part]:
    parts: list[Part] = []
    s = low
    while s < high:
        width, depth, floors = rng.uniform(14, 26), rng.uniform(10, 14), int(rng.integers(3, 8))
        x, y = street_to_world(curvature, s + width / 2, line + side * (26 + depth))
        yaw = curvature * s + (0.0 if side > 0 else np.pi)
        parts += [move_part(p, (x, y, 0.0), yaw) for p in _house(rng, width, depth, floors, False)]
        s += width + rng.uniform(4, 18)
    return parts


def houses(
    rng: np.random.Generator, curvature: float, right: float, left: float, low: float, high: float
) -> list[Part]:
    """Build all houses between `low` and `high` meters of a street; `right`, `left`: n of the building lines."""
    parts = _row(rng, curvature, -1, right, low, high) + _row(rng, curvature, 1, left, low, high)
    parts += _second_row(rng, curvature, -1, right, low, high) + _second_row(rng, curvature, 1, left, low, high)
    for n in np.arange(right - 12.0, left + 13.0, 15.0):  # a cross street closes the view
        x, y = street_to_world(curvature, high + 26.0, n)
        yaw = curvature * high - np.pi / 2
        parts += [move_part(p, (x, y, 0.0), yaw) for p in _house(rng, 14.5, 12.0, int(rng.integers(3, 6)), False)]
    return parts
