"""Build vehicles of four classes from primitives, and place them in the street (host side)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ff_jax.data.synthetic.ground import street_to_world
from ff_jax.data.synthetic.primitive_builders import Color, Part, Vector, box, cylinder
from ff_jax.data.synthetic.types import CABIN, PAINT, PLAIN, TIRE, VEHICLE_CLASSES, StreetConfig

PAINTS: tuple[Color, ...] = (
    (0.55, 0.55, 0.55), (0.62, 0.62, 0.6), (0.03, 0.03, 0.035), (0.12, 0.13, 0.14), (0.30, 0.02, 0.02),
    (0.03, 0.08, 0.28), (0.06, 0.16, 0.10), (0.42, 0.30, 0.10), (0.10, 0.24, 0.42), (0.33, 0.33, 0.34),
)  # fmt: skip
RUBBER: Color = (0.02, 0.02, 0.02)
TRIM: Color = (0.03, 0.03, 0.032)
MIRROR = 0.09  # meters that a mirror sticks out of the body; the box of the vehicle includes it

Size = tuple[float, float, float]  # length, width, height, meters


class VehicleSpec(NamedTuple):
    """One vehicle: its class, size and track."""

    kind: str
    size: Size
    s: float  # meters along the street, at time 0
    n: float  # meters to the left
    speed: float = 0.0  # meters per second along +s; negative: oncoming


def _panel(
    center: Vector, size: Vector, color: Color, taper: Vector, style: Vector = (), material: int = PAINT
) -> Part:
    """Build a box of painted sheet metal with dark trim."""
    return box(center, size, material, color, taper=taper, style=style, trim=TRIM)


def _wheels(size: Size, xs: tuple[float, ...], radius: float) -> list[Part]:
    _, width, height = size
    y = 0.5 * width - MIRROR - 0.1
    return [
        cylinder((x, side * y, radius - height / 2), radius, 0.24, TIRE, RUBBER, lying=True)
        for x in xs
        for side in (-1, 1)
    ]


def _mirrors(size: Size, x: float, z: float, color: Color) -> list[Part]:
    y = 0.5 * size[1] - MIRROR / 2
    return [box((x, side * y, z), (0.12, MIRROR + 0.08 - 0.08, 0.14), PAINT, color) for side in (-1, 1)]


def _car(rng: np.random.Generator, size: Size, color: Color) -> list[Part]:
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
    hood_center = (0.5 * (ahead + 0.46 * length), 0, belt + 0.05 - height / 2)
    hood = (0.48 * length - ahead, body - 0.12, 0.12)
    cabin_center, cabin = (x, 0, 0.5 * (belt + height) - height / 2), (ahead - back, body - 0.06, height - belt)
    cabin_taper, cabin_style = (0.72, 0.2 if hatch else 0.62, 0.2), (glass[0] - x, glass[1] - x, 1e3, -1e3)
    return [
        _panel((0, 0, middle), (length - 0.1, body, belt - low), color, (0.22, 0.12, 0.05), style),
        _panel((0, 0, 0.42 - height / 2), (length, body - 0.1, 0.32), color, (0.06, 0.06, 0.0)),
        _panel(hood_center, hood, color, (0.5, 0.0, 0.12)),
        _panel(cabin_center, cabin, color, cabin_taper, cabin_style, CABIN),
        *_mirrors(size, ahead - 0.38, belt + 0.1 - height / 2, color),
        *_wheels(size, (front, rear), wheel),
    ]


def _van(rng: np.random.Generator, size: Size, color: Color) -> list[Part]:
    length, width, height = size
    body, low, belt = width - 2 * MIRROR, 0.24, 0.5 * height
    wheel, front, rear = 0.36, 0.32 * length, -0.30 * length
    middle = 0.5 * (low + belt) - height / 2
    style = (front, rear, wheel, wheel - height / 2 - middle, 0.0, -1.0, 1.1, 1.0)
    panel_van = rng.random() < 0.6
    top = height - belt
    cabin_center = (0.5 * (0.36 * length - 0.49 * length), 0, belt + top / 2 - height / 2)
    cabin_style = (0.02, -0.29 * length, 0.24 * length, 0.02 if panel_van else -1e3)
    hood_center = (0.42 * length, 0, belt + 0.09 - height / 2)
    return [
        _panel((0, 0, middle), (length - 0.04, body, belt - low), color, (0.12, 0.02, 0.03), style),
        _panel(cabin_center, (0.85 * length, body - 0.03, top), color, (0.85, 0.05, 0.13), cabin_style, CABIN),
        _panel(hood_center, (0.13 * length, body - 0.1, 0.2), color, (0.4, 0.0, 0.1)),
        box((0, 0, 0.42 - height / 2), (length, body - 0.1, 0.3), PLAIN, TRIM),
        *_mirrors(size, 0.27 * length, belt + 0.15 - height / 2, TRIM),
        *_wheels(size, (front, rear), wheel),
    ]


def _bus(rng: np.random.Generator, size: Size, color: Color) -> list[Part]:
    length, width, height = size
    body, low = width - 2 * MIRROR, 0.3
    wheel, front, rear = 0.48, 0.28 * length, -0.27 * length
    middle = 0.5 * (low + height) - height / 2
    style = (front, rear, wheel, wheel - height / 2 - middle, -0.15, 0.95, 0.0, 1.0)
    roof_box = (0.3 * length, 0.6 * body, 0.24)
    return [
        _panel((0, 0, middle), (length, body, height - low), color, (0.18, 0.05, 0.06), style),
        box((0.05 * length, 0, 0.5 * height - 0.12), roof_box, PLAIN, (0.5, 0.5, 0.5)),
        *_mirrors(size, 0.49 * length, 0.6, TRIM),
        *_wheels(size, (front, rear), wheel),
    ]


def _truck(rng: np.random.Generator, size: Size, color: Color) -> list[Part]:
    length, width, height = size
    body, cab = width - 2 * MIRROR, 1.9
    wheel, front, rear = 0.45, 0.5 * length - 1.2, -0.28 * length
    tall = 0.78 * height - 0.4
    middle = 0.4 + tall / 2 - height / 2
    style = (0.0, -99.0, wheel, wheel - height / 2 - middle, 0.15, 0.85, 0.6, 1.0)
    cargo_color = (0.62, 0.62, 0.6) if rng.random() < 0.6 else color
    cargo_center = (-0.5 * cab - 0.05, 0, 0.5 * height - 0.5 * (height - 0.95))
    cargo, cargo_style = (length - cab - 0.1, body, height - 0.95), (0, 0, 0, 0, 0, -1, -1, 0)
    bumper_center = (-0.5 * length + 0.1, 0, 0.55 - height / 2)
    return [
        _panel((0.5 * (length - cab), 0, middle), (cab, body, tall), color, (0.3, 0.0, 0.1), style),
        box(cargo_center, cargo, PAINT, cargo_color, style=cargo_style, trim=color),
        box((-0.3, 0, 0.72 - height / 2), (length - 0.8, 0.8, 0.3), PLAIN, TRIM),
        box(bumper_center, (0.1, body - 0.2, 0.12), PLAIN, (0.3, 0.03, 0.03)),
        *_mirrors(size, 0.5 * length - 0.3, 0.3, TRIM),
        *_wheels(size, (front, rear, rear + 1.1), wheel),
    ]


BUILD = {"car": _car, "van": _van, "bus": _bus, "truck": _truck}


def vehicle_parts(rng: np.random.Generator, spec: VehicleSpec, owner: int) -> list[Part]:
    """Build the parts of a vehicle about the center of its box, x forward."""
    color = PAINTS[int(rng.integers(len(PAINTS)))]
    if spec.kind == "bus":
        color = ((0.45, 0.05, 0.04), (0.05, 0.2, 0.4), (0.5, 0.36, 0.05))[int(rng.integers(3))]
    if spec.kind == "van" and rng.random() < 0.5:
        color = (0.6, 0.6, 0.58)
    return [part._replace(owner=owner) for part in BUILD[spec.kind](rng, spec.size, color)]


def _size(rng: np.random.Generator, kind: str) -> Size:
    length, width, height = {
        "car": (4.4, 1.98, 1.48), "van": (5.2, 2.15, 2.1), "bus": (10.5, 2.7, 3.1), "truck": (7.2, 2.55, 3.2),
    }[kind]  # fmt: skip
    factor = rng.uniform(0.94, 1.06)
    return (length * factor, width, height * rng.uniform(0.97, 1.06))


def parked_vehicles(
    rng: np.random.Generator,
    config: StreetConfig,
    bays: tuple[tuple[float, float], ...],
    crossing: Float[np.ndarray, "2"],
) -> list[VehicleSpec]:
    """Draw parked vehicles in both bays; all of them stand outside the clear corridor."""
    specs: list[VehicleSpec] = []
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
                specs.append(VehicleSpec(kind, size, middle, n))
                count += 1
            s += size[0] + (rng.uniform(0.9, 2.0) if rng.random() < 0.6 else rng.uniform(4, 11))
    return specs


def moving_vehicles(
    rng: np.random.Generator, config: StreetConfig, lane_centers: tuple[float, float], oncoming_n: float
) -> list[VehicleSpec]:
    """Draw moving vehicles: ahead in the lanes of the ego vehicle, or oncoming outside the clear corridor."""
    specs = []
    for k in range(config.num_moving):
        kind = "car" if k != 2 else str(rng.choice(("car", "van")))
        size = _size(rng, kind)
        if k % 2 == 0:
            n, speed = lane_centers[(k // 2 + 1) % 2], config.speed * rng.uniform(0.95, 1.1)
            specs.append(VehicleSpec(kind, size, rng.uniform(*config.lead_gap) + 14.0 * k, n, speed))
        else:
            specs.append(
                VehicleSpec("car", _size(rng, "car"), rng.uniform(55, 75) + 10.0 * k, oncoming_n, -0.9 * config.speed)
            )
    return specs


def tracks(
    specs: list[VehicleSpec], curvature: float, times: Float[np.ndarray, "T"]
) -> tuple[Float[np.ndarray, "V T 3"], Float[np.ndarray, "V T"]]:
    """Compute the positions of the box centers and the yaws in the world."""
    s = np.array([spec.s for spec in specs])[:, None] + np.array([spec.speed for spec in specs])[:, None] * times
    n = np.broadcast_to(np.array([spec.n for spec in specs])[:, None], s.shape)
    height = np.broadcast_to(np.array([spec.size[2] / 2 for spec in specs])[:, None, None], (*s.shape, 1))
    is_reversed = np.array([spec.speed < 0 or (spec.speed == 0 and spec.n > 0) for spec in specs])[:, None]
    return np.concatenate([street_to_world(curvature, s, n), height], -1), curvature * s + np.pi * is_reversed
