"""Vehicles of four classes, each of several primitives, and where they stand and drive (host side)."""

from typing import NamedTuple

import numpy as np

from ff_jax.data.synthetic.ground import place
from ff_jax.data.synthetic.primitive_builders import Color, Part, box, cylinder
from ff_jax.data.synthetic.types import CABIN, PAINT, PLAIN, TYRE, VEHICLE_CLASSES, WorldConfig

PAINTS: tuple[Color, ...] = (
    (0.55, 0.55, 0.55), (0.62, 0.62, 0.6), (0.03, 0.03, 0.035), (0.12, 0.13, 0.14), (0.30, 0.02, 0.02),
    (0.03, 0.08, 0.28), (0.06, 0.16, 0.10), (0.42, 0.30, 0.10), (0.10, 0.24, 0.42), (0.33, 0.33, 0.34),
)  # fmt: skip
RUBBER: Color = (0.02, 0.02, 0.02)
TRIM: Color = (0.03, 0.03, 0.032)
MIRROR = 0.09  # metres that a mirror stands out of the body; the labelled box includes it


class Spec(NamedTuple):
    """One vehicle: its class, size (length, width, height; metres) and track."""

    kind: str
    size: tuple[float, float, float]
    s: float
    n: float
    speed: float = 0.0  # metres per second along +s; negative: oncoming


def _wheels(size, xs, radius, owner) -> list[Part]:
    _, width, height = size
    y = 0.5 * width - MIRROR - 0.1
    return [
        cylinder((x, side * y, radius - height / 2), radius, 0.24, TYRE, RUBBER, lying=True, owner=owner)
        for x in xs
        for side in (-1, 1)
    ]


def _mirrors(size, x, z, color, owner) -> list[Part]:
    y = 0.5 * size[1] - MIRROR / 2
    return [box((x, side * y, z), (0.12, MIRROR + 0.08 - 0.08, 0.14), PAINT, color, owner=owner) for side in (-1, 1)]


def _car(rng, size, color, owner) -> list[Part]:
    length, width, height = size
    body, low, belt = width - 2 * MIRROR, 0.2, 0.62 * height
    wheel, front, rear = 0.33, 0.31 * length, -0.30 * length
    middle = 0.5 * (low + belt) - height / 2
    style = (front, rear, wheel, wheel - height / 2 - middle, 0.0, -1.0, 0.95, 1.0)
    hatch = rng.random() < 0.5
    back = (-0.47 if hatch else -0.36) * length
    ahead = 0.20 * length
    glass = (back + 0.28, -0.1, ahead - 0.2)
    x = 0.5 * (back + ahead)
    cabin_style = (glass[0] - x, glass[1] - x, 1e3, -1e3)
    look = {"owner": owner, "trim": TRIM}
    return [
        box(
            (0, 0, middle),
            (length - 0.1, body, belt - low),
            PAINT,
            color,
            style=style,
            taper=(0.22, 0.12, 0.05),
            **look,
        ),
        box(
            (0, 0, 0.42 - height / 2),
            (length, body - 0.1, 0.32),
            PAINT,
            color,
            taper=(0.06, 0.06, 0.0),
            **look,
        ),
        box(
            (0.5 * (ahead + 0.46 * length), 0, belt + 0.05 - height / 2),
            (0.48 * length - ahead, body - 0.12, 0.12),
            PAINT,
            color,
            taper=(0.5, 0.0, 0.12),
            **look,
        ),
        box(
            (x, 0, 0.5 * (belt + height) - height / 2),
            (ahead - back, body - 0.06, height - belt),
            CABIN,
            color,
            style=cabin_style,
            taper=(0.72, 0.2 if hatch else 0.62, 0.2),
            **look,
        ),
        *_mirrors(size, ahead - 0.38, belt + 0.1 - height / 2, color, owner),
        *_wheels(size, (front, rear), wheel, owner),
    ]


def _van(rng, size, color, owner) -> list[Part]:
    length, width, height = size
    body, low, belt = width - 2 * MIRROR, 0.24, 0.5 * height
    wheel, front, rear = 0.36, 0.32 * length, -0.30 * length
    middle = 0.5 * (low + belt) - height / 2
    style = (front, rear, wheel, wheel - height / 2 - middle, 0.0, -1.0, 1.1, 1.0)
    panel_van = rng.random() < 0.6
    top = height - belt
    cabin = 0.5 * (0.36 * length - 0.49 * length)
    cabin_style = (0.02, -0.29 * length, 0.24 * length, 0.02 if panel_van else -1e3)
    look = {"owner": owner, "trim": TRIM}
    return [
        box(
            (0, 0, middle),
            (length - 0.04, body, belt - low),
            PAINT,
            color,
            style=style,
            taper=(0.12, 0.02, 0.03),
            **look,
        ),
        box(
            (cabin, 0, belt + top / 2 - height / 2),
            (0.85 * length, body - 0.03, top),
            CABIN,
            color,
            style=cabin_style,
            taper=(0.85, 0.05, 0.13),
            **look,
        ),
        box(
            (0.42 * length, 0, belt + 0.09 - height / 2),
            (0.13 * length, body - 0.1, 0.2),
            PAINT,
            color,
            taper=(0.4, 0.0, 0.1),
            **look,
        ),
        box((0, 0, 0.42 - height / 2), (length, body - 0.1, 0.3), PLAIN, TRIM, owner=owner),
        *_mirrors(size, 0.27 * length, belt + 0.15 - height / 2, TRIM, owner),
        *_wheels(size, (front, rear), wheel, owner),
    ]


def _bus(rng, size, color, owner) -> list[Part]:
    length, width, height = size
    body, low = width - 2 * MIRROR, 0.3
    wheel, front, rear = 0.48, 0.28 * length, -0.27 * length
    middle = 0.5 * (low + height) - height / 2
    style = (front, rear, wheel, wheel - height / 2 - middle, -0.15, 0.95, 0.0, 1.0)
    look = {"owner": owner, "trim": TRIM}
    return [
        box(
            (0, 0, middle),
            (length, body, height - low),
            PAINT,
            color,
            style=style,
            taper=(0.18, 0.05, 0.06),
            **look,
        ),
        box(
            (0.05 * length, 0, 0.5 * height - 0.12),
            (0.3 * length, 0.6 * body, 0.24),
            PLAIN,
            (0.5, 0.5, 0.5),
            owner=owner,
        ),
        *_mirrors(size, 0.49 * length, 0.6, TRIM, owner),
        *_wheels(size, (front, rear), wheel, owner),
    ]


def _truck(rng, size, color, owner) -> list[Part]:
    length, width, height = size
    body, cab = width - 2 * MIRROR, 1.9
    wheel, front, rear = 0.45, 0.5 * length - 1.2, -0.28 * length
    tall = 0.78 * height - 0.4
    middle = 0.4 + tall / 2 - height / 2
    style = (0.0, -99.0, wheel, wheel - height / 2 - middle, 0.15, 0.85, 0.6, 1.0)
    cargo = (0.62, 0.62, 0.6) if rng.random() < 0.6 else color
    look = {"owner": owner, "trim": TRIM}
    return [
        box(
            (0.5 * (length - cab), 0, middle),
            (cab, body, tall),
            PAINT,
            color,
            style=style,
            taper=(0.3, 0.0, 0.1),
            **look,
        ),
        box(
            (-0.5 * cab - 0.05, 0, 0.5 * height - 0.5 * (height - 0.95)),
            (length - cab - 0.1, body, height - 0.95),
            PAINT,
            cargo,
            style=(0, 0, 0, 0, 0, -1, -1, 0),
            trim=color,
            owner=owner,
        ),
        box((-0.3, 0, 0.72 - height / 2), (length - 0.8, 0.8, 0.3), PLAIN, TRIM, owner=owner),
        box(
            (-0.5 * length + 0.1, 0, 0.55 - height / 2),
            (0.1, body - 0.2, 0.12),
            PLAIN,
            (0.3, 0.03, 0.03),
            owner=owner,
        ),
        *_mirrors(size, 0.5 * length - 0.3, 0.3, TRIM, owner),
        *_wheels(size, (front, rear, rear + 1.1), wheel, owner),
    ]


BUILD = {"car": _car, "van": _van, "bus": _bus, "truck": _truck}


def vehicle_parts(rng: np.random.Generator, spec: Spec, owner: int) -> list[Part]:
    """Return the parts of a vehicle about the centre of its box, x forward."""
    color = PAINTS[int(rng.integers(len(PAINTS)))]
    if spec.kind == "bus":
        color = ((0.45, 0.05, 0.04), (0.05, 0.2, 0.4), (0.5, 0.36, 0.05))[int(rng.integers(3))]
    if spec.kind == "van" and rng.random() < 0.5:
        color = (0.6, 0.6, 0.58)
    return BUILD[spec.kind](rng, spec.size, color, owner)


def _size(rng, kind: str) -> tuple[float, float, float]:
    length, width, height = {
        "car": (4.4, 1.98, 1.48), "van": (5.2, 2.15, 2.1), "bus": (10.5, 2.7, 3.1), "truck": (7.2, 2.55, 3.2),
    }[kind]  # fmt: skip
    factor = rng.uniform(0.94, 1.06)
    return (length * factor, width, height * rng.uniform(0.97, 1.06))


def parked(rng: np.random.Generator, config: WorldConfig, bays, crossing) -> list[Spec]:
    """Return parked vehicles in both bays; all of them stand outside the clear corridor."""
    specs: list[Spec] = []
    per_side = config.num_parked // 2
    for k, (low, high) in enumerate(bays):
        s = rng.uniform(-16, -10)
        edge = high if k == 0 else low  # the roadside edge of the bay
        inward = -1 if k == 0 else 1
        count = 0
        while count < per_side and s < config.ahead:
            kind = str(rng.choice(VEHICLE_CLASSES, p=(0.7, 0.2, 0.02, 0.08)))
            size = _size(rng, kind)
            middle = s + size[0] / 2
            if not crossing[0] - 8 < middle < crossing[1] + 6:
                n = edge + inward * (0.5 * size[1] + rng.uniform(0.05, 0.25))
                specs.append(Spec(kind, size, middle, n))
                count += 1
            s += size[0] + (rng.uniform(0.9, 2.0) if rng.random() < 0.6 else rng.uniform(4, 11))
    return specs


def driving(rng: np.random.Generator, config: WorldConfig, lane_centers, oncoming_n: float) -> list[Spec]:
    """Return moving vehicles: ahead in the lanes of the ego, or oncoming outside the clear corridor."""
    specs = []
    for k in range(config.num_moving):
        kind = "car" if k != 2 else str(rng.choice(("car", "van")))
        size = _size(rng, kind)
        if k % 2 == 0:
            n, speed = lane_centers[(k // 2 + 1) % 2], config.speed * rng.uniform(0.95, 1.1)
            specs.append(Spec(kind, size, rng.uniform(*config.lead_gap) + 14.0 * k, n, speed))
        else:
            specs.append(
                Spec("car", _size(rng, "car"), rng.uniform(55, 75) + 10.0 * k, oncoming_n, -0.9 * config.speed)
            )
    return specs


def tracks(specs: list[Spec], curvature: float, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (V, T, 3) of the box centres and yaws (V, T) in the world."""
    s = np.array([spec.s for spec in specs])[:, None] + np.array([spec.speed for spec in specs])[:, None] * times
    n = np.broadcast_to(np.array([spec.n for spec in specs])[:, None], s.shape)
    height = np.broadcast_to(np.array([spec.size[2] / 2 for spec in specs])[:, None, None], (*s.shape, 1))
    turned = np.array([spec.speed < 0 or (spec.speed == 0 and spec.n > 0) for spec in specs])[:, None]
    return np.concatenate([place(curvature, s, n), height], -1), curvature * s + np.pi * turned
