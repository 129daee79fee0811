"""Trees, lamps, signs, railings and other objects beside the road (host side)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ff_jax.data.synthetic.ground import street_to_world
from ff_jax.data.synthetic.primitive_builders import Part, box, cylinder, ellipsoid, move_part, panel, to_color
from ff_jax.data.synthetic.types import BARK, FOLIAGE, LAMP, METAL, PLAIN, SIGN

GREENS = ((0.075, 0.14, 0.03), (0.10, 0.16, 0.035), (0.05, 0.11, 0.03), (0.13, 0.15, 0.04), (0.16, 0.12, 0.035))
STEEL = (0.09, 0.1, 0.1)


def tree(rng: np.random.Generator, clusters: int) -> list[Part]:
    """Build a tree at the origin with `clusters` leafy clusters."""
    height, radius = rng.uniform(2.4, 3.4), rng.uniform(1.5, 2.3)
    trunk = rng.uniform(0.11, 0.2)
    green = np.array(GREENS[int(rng.integers(len(GREENS)))])
    parts = [
        cylinder((0, 0, 0.5 * height + 0.3), trunk * 1.25, height + 0.6, BARK, (0.13, 0.1, 0.07), top=trunk * 0.7),
        cylinder((0, 0, height + 0.9), trunk * 0.7, 2.4, BARK, (0.1, 0.08, 0.06), top=0.03),
    ]
    for k in range(clusters):
        # A golden-angle spiral over a dome covers the crown evenly.
        share = (k + 0.5) / clusters
        angle, lift = 2.4 * k + rng.uniform(-0.5, 0.5), rng.uniform(0.75, 1.0)
        out = radius * 0.72 * np.sqrt(1.0 - (1.0 - share) ** 2 * 0.9) * rng.uniform(0.7, 1.1)
        up = height + radius * (0.35 + 1.25 * (1.0 - share) * lift + 0.2 * rng.random())
        size = radius * rng.uniform(0.38, 0.62) * np.array([1.0, 1.0, rng.uniform(0.6, 0.85)])
        color = to_color(green * rng.uniform(0.7, 1.3))
        center = (out * np.cos(angle), out * np.sin(angle), up)
        attributes = {"leaves": rng.uniform(0.05, 0.5), "frequency": rng.uniform(2.2, 3.2)}
        parts.append(ellipsoid(center, size, FOLIAGE, color, **attributes))
    return parts


def bush(rng: np.random.Generator) -> list[Part]:
    """Build a low bush at the origin."""
    green = to_color(np.array(GREENS[int(rng.integers(4))]) * rng.uniform(0.8, 1.2))
    size = rng.uniform(0.45, 0.9) * np.array([1.2, 1.0, 0.9])
    return [
        ellipsoid((dx, dy, size[2] * 0.7), size, FOLIAGE, green, leaves=rng.uniform(0.6, 1.0), frequency=2.4)
        for dx, dy in ((0.0, 0.0), (0.7, 0.1))
    ]


def lamp(reach: float) -> list[Part]:
    """Build a street lamp with an arm of `reach` meters along +y."""
    return [
        cylinder((0, 0, 3.6), 0.09, 7.2, METAL, STEEL, top=0.05),
        cylinder((0, 0, 0.5), 0.14, 1.0, METAL, STEEL, top=0.12),
        box((0, reach / 2, 7.15), (0.07, abs(reach), 0.07), METAL, STEEL),
        box((0, reach, 7.1), (0.28, 0.7, 0.14), METAL, (0.25, 0.25, 0.25), taper=(0.1, 0.1, 0.1)),
    ]


def road_sign(rng: np.random.Generator) -> list[Part]:
    """Build a road sign that faces traffic (towards -x)."""
    colors = ((0.03, 0.1, 0.4), (0.5, 0.04, 0.03), (0.6, 0.6, 0.58), (0.55, 0.38, 0.02))
    color, width = colors[int(rng.integers(4))], rng.uniform(0.5, 0.8)
    trim = (0.65, 0.65, 0.63) if max(color) - min(color) > 0.1 else (0.5, 0.04, 0.03)
    high = rng.uniform(2.3, 2.8)
    plate = box(
        (-0.05, 0, high),
        (0.03, width, width * rng.choice([1.0, 1.3])),
        SIGN,
        color,
        trim=trim,
        style=(rng.random(), float(rng.random() < 0.4)),
    )
    return [cylinder((0, 0, high / 2), 0.035, high + 0.5, METAL, (0.35, 0.35, 0.35)), plate]


def traffic_light(reach: float) -> list[Part]:
    """Build a mast with an arm of `reach` meters along +y and two signal heads."""
    head = (0.28, 0.32, 0.95)
    return [
        cylinder((0, 0, 2.9), 0.09, 5.8, METAL, STEEL),
        box((0, reach / 2, 5.6), (0.1, abs(reach), 0.1), METAL, STEEL),
        box((0, reach, 5.45), head, PLAIN, (0.02, 0.02, 0.02)),
        box((-0.15, reach, 5.15), (0.04, 0.18, 0.18), LAMP, (0.05, 0.75, 0.35)),
        box((0, 0.0, 2.7), head, PLAIN, (0.02, 0.02, 0.02)),
        box((-0.15, 0.0, 2.4), (0.04, 0.18, 0.18), LAMP, (0.05, 0.75, 0.35)),
    ]


def shelter() -> list[Part]:
    """Build a bus shelter, open towards +y."""
    return [
        box((0, 0.3, 2.45), (4.2, 1.7, 0.12), METAL, (0.12, 0.13, 0.14)),
        *[cylinder((x, y, 1.2), 0.04, 2.4, METAL, STEEL) for x in (-1.9, 1.9) for y in (-0.4, 1.0)],
        panel((0, -0.42, 1.3), 3.9, 1.9, METAL, (0.07, 0.09, 0.09), slats=(0.97, 0.04)),
        box((1.95, 0.3, 1.3), (0.1, 1.2, 1.8), SIGN, (0.5, 0.2, 0.1), trim=(0.6, 0.6, 0.55), style=(0.3, 1.0)),
        box((-0.5, -0.1, 0.5), (2.2, 0.4, 0.06), PLAIN, (0.25, 0.14, 0.07)),
    ]


def litter_bin() -> list[Part]:
    """Build a litter bin."""
    return [cylinder((0, 0, 0.55), 0.22, 0.9, METAL, (0.04, 0.10, 0.06), top=0.26)]


def pedestrian(rng: np.random.Generator) -> list[Part]:
    """Build a standing person at the origin."""
    coat = to_color(rng.uniform(0.02, 0.4, 3))
    legs = to_color(rng.uniform(0.02, 0.15, 3))
    turn, tall = rng.uniform(0, 2 * np.pi), rng.uniform(0.92, 1.08)
    skin = (0.42, 0.27, 0.2) if rng.random() < 0.6 else (0.18, 0.1, 0.07)
    parts = [
        cylinder((0.12, 0.09, 0.42), 0.07, 0.84, PLAIN, legs, top=0.09),
        cylinder((-0.12, -0.09, 0.42), 0.07, 0.84, PLAIN, legs, top=0.09),
        ellipsoid((0, 0, 1.14), (0.17, 0.25, 0.38), PLAIN, coat),
        ellipsoid((0.02, 0, 1.62), (0.1, 0.09, 0.13), PLAIN, skin),
        *[cylinder((0.03, y, 1.08), 0.045, 0.62, PLAIN, coat, top=0.06) for y in (-0.27, 0.27)],
    ]
    scaled = [p._replace(center=(p.center[0], p.center[1], p.center[2] * tall)) for p in parts]
    return [move_part(p, (0, 0, 0), turn) for p in scaled]


class Course(NamedTuple):
    """The road along its length."""

    curvature: float  # 1/meter
    low: float  # s where it begins, meters
    high: float  # s where it ends, meters
    crossing: Float[np.ndarray, "2"]  # s where the zebra crossing begins and ends, meters


class Roadside(NamedTuple):
    """The strip behind one curb."""

    curb: float  # n of the curb, meters
    side: int  # +1 on the left of the street, -1 on the right
    verge: float  # width of the grass strip, meters
    yard: float  # distance from the curb to the building line, meters


def _furnish(rng: np.random.Generator, course: Course, strip: Roadside) -> list[Part]:
    """Furnish the strip behind one curb."""
    (curvature, low, high, crossing), (curb, side, verge, yard) = course, strip

    def put(parts: list[Part], s: float, m: float, z: float = 0.13) -> list[Part]:
        x, y = street_to_world(curvature, s, curb + side * m)
        yaw = curvature * s + (np.pi if side > 0 else 0.0)  # +y of a part faces the road
        return [move_part(p, (x, y, z), yaw) for p in parts]

    def put_facing(parts: list[Part], s: float, m: float) -> list[Part]:
        x, y = street_to_world(curvature, s, curb + side * m)
        return [move_part(p, (x, y, 0.13), curvature * s) for p in parts]

    out: list[Part] = []
    spacing, start = rng.uniform(9.5, 14.0), low + rng.uniform(0, 8)
    middle = 0.5 * (crossing[0] + crossing[1])
    for k, s in enumerate(np.arange(start, high, spacing)):
        s = float(s + rng.uniform(-1.5, 1.5))
        if abs(s - middle) > 6 and s > -25:
            out += put(tree(rng, 14 if -5 < s < 70 else 7), s, 0.9)
        if k % 3 == 1:
            out += put(lamp(1.6), s + spacing / 2, 0.5)
        elif rng.random() < 0.55 and -10 < s < 120:
            out += put_facing(road_sign(rng), s + 0.35 * spacing, 0.55)
        if rng.random() < 0.35 and -10 < s < 90:
            out += put(litter_bin(), s + 0.6 * spacing, 0.6)
    out += put_facing(traffic_light(-side * 4.5), crossing[1] + 0.8, 0.5)
    for s in np.arange(crossing[1] + 1.6, crossing[1] + 9.0, 2.0):
        out += put([panel((0, 0, 0.52), 1.9, 0.95, METAL, STEEL, slats=(0.16, 0.16))], float(s), 0.3)
        out += put([cylinder((0.97, 0, 0.52), 0.03, 1.05, METAL, STEEL)], float(s), 0.3)
    for s in np.arange(crossing[0] - 8.0, crossing[0] - 1.0, 1.6):
        out += put([cylinder((0, 0, 0.42), 0.07, 0.85, METAL, (0.06, 0.06, 0.06))], float(s), 0.35)
    for s in rng.uniform(0, 90, 5):
        out += put(bush(rng), float(s), yard - 0.7)
    for s in rng.uniform(5, 70, 4):
        out += put(pedestrian(rng), float(s), rng.uniform(verge + 0.4, yard - 0.5))
    stop = rng.uniform(15, 60)
    return out + (put(shelter(), float(stop), verge + 0.7) if abs(stop - middle) > 12 else [])


def furniture(
    rng: np.random.Generator,
    course: Course,
    curbs: tuple[float, float],
    verges: Float[np.ndarray, "2"],
    facades: Float[np.ndarray, "2"],
) -> list[Part]:
    """Build all objects between the curbs and the houses; `curbs`, `verges`, `facades` as in `Road`."""
    right = _furnish(rng, course, Roadside(curbs[0], -1, verges[0], curbs[0] - facades[0]))
    left = _furnish(rng, course, Roadside(curbs[1], 1, verges[1], facades[1] - curbs[1]))
    return right + left
