"""Build a street from a seed (host side) and pack it into arrays."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float

from ff_jax.data.synthetic import houses, street_furniture
from ff_jax.data.synthetic import vehicles as cars
from ff_jax.data.synthetic.ground import street_to_world
from ff_jax.data.synthetic.primitive_builders import pack
from ff_jax.data.synthetic.types import VEHICLE_CLASSES, Road, Sky, Street, StreetConfig, Vehicles

LINES = 8  # slots for painted lines
DEFAULT = StreetConfig()
# Meters between the clear corridor and vehicles: the ego drifts by DRIFT * 2, and an arc bends by 0.1 m in 12 m.
GAP = 0.4
DRIFT = 0.06  # meters: amplitude of the ego about its lane center


def _f32(value: ArrayLike | Sequence) -> jnp.ndarray:
    return jax.device_put(np.asarray(value, np.float32))


Line = tuple[float, float, float, bool]  # n, dash, period (meters), yellow
Pair = tuple[float, float]


class CrossSection(NamedTuple):
    """Lateral layout of a street, meters to the left of the ego lane center."""

    lines: list[Line]
    bays: tuple[Pair, Pair]  # right and left parking bay
    curbs: Pair
    lanes: Pair  # centers of the lanes of the ego direction
    oncoming: float  # center of the oncoming lane


def _cross_section(rng: np.random.Generator, config: StreetConfig) -> CrossSection:
    """Draw the lateral layout."""
    lane = config.lane_width
    right = -lane / 2
    middle = right + 2 * lane + 0.15
    bay_right = (-config.clear_right - GAP - 2.35, -config.clear_right - GAP)
    opposite = 1 if rng.random() < 0.5 else 2
    end = max(middle + 0.15 + opposite * (lane + 0.35), config.clear_left + GAP + 2.1)
    bay_left = (end, end + 2.35)
    dash = ((3.0, 9.0), (4.0, 8.0), (2.0, 6.0))[int(rng.integers(3))]
    lines = [
        (right, 0.0, 1.0, False),
        (right + lane, *dash, False),
        (middle - 0.12, 0.0, 1.0, bool(rng.random() < 0.5)),
        (end - 0.1, 0.0, 1.0, False),
        (bay_right[1] + 0.02, 0.0, 1.0, False),
    ]
    lines.append((middle + 0.12, 0.0, 1.0, lines[2][3]))
    if opposite == 2:
        lines.append((middle + 0.15 + lane + 0.2, *dash, False))
    curbs = (bay_right[0] - 0.1, bay_left[1] + 0.1)
    oncoming = max(end - 0.5 * lane, config.clear_left + GAP + 1.0)
    return CrossSection(lines, (bay_right, bay_left), curbs, (0.0, lane), oncoming)


def _road(rng: np.random.Generator, config: StreetConfig, section: CrossSection) -> Road:
    lines, bays, curbs = section[:3]
    verges = rng.uniform(1.3, 1.9, 2)
    walks = rng.uniform(2.4, 3.8, 2)
    pad = [(0.0, 0.0, 1.0, False)] * (LINES - len(lines))
    n, dash, period, yellow = (np.array(column) for column in zip(*lines, *pad, strict=True))
    crossing = rng.uniform(20, 55)
    return Road(
        curvature=_f32(rng.uniform(-1, 1) * config.max_curvature),
        curbs=_f32(curbs),
        curb_height=_f32(0.13),
        verges=_f32(verges),
        facades=_f32((curbs[0] - verges[0] - walks[0], curbs[1] + verges[1] + walks[1])),
        line_n=_f32(n),
        line_dash=_f32(dash),
        line_period=_f32(period),
        line_valid=jax.device_put(np.arange(LINES) < len(lines)),
        line_yellow=jax.device_put(yellow.astype(bool)),
        crossing=_f32((crossing, crossing + 3.5)),
        bays=_f32(bays),
        asphalt=_f32(rng.uniform(0.075, 0.125) * np.array([1.0, 0.99, 0.97])),
        paving=_f32(rng.uniform(0.24, 0.36) * np.array([1.0, rng.uniform(0.9, 0.98), rng.uniform(0.8, 0.94)])),
        slab=_f32(((0.6, 0.6), (0.9, 0.6), (0.4, 0.4))[int(rng.integers(3))]),
        offset=_f32(rng.uniform(0, 2000, 2)),
    )


def _sky(rng: np.random.Generator) -> Sky:
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(28, 58))
    warm = 1.0 - (elevation - 0.49) / 0.52
    return Sky(
        sun=_f32((np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation))),
        sun_color=_f32(2.6 * np.array([1.0, 0.93 - 0.05 * warm, 0.83 - 0.13 * warm])),
        zenith=_f32(np.array([0.16, 0.33, 0.72]) * rng.uniform(0.9, 1.15)),
        horizon=_f32(np.array([0.62, 0.72, 0.86]) * rng.uniform(0.9, 1.1)),
        cloud_cover=_f32(rng.uniform(0.3, 0.9)),
        offset=_f32(rng.uniform(0, 500, 2)),
    )


def _vehicles(
    specs: list[cars.VehicleSpec], curvature: float, times: Float[np.ndarray, "T"], capacity: int
) -> Vehicles:
    position, yaw = cars.tracks(specs, curvature, times)
    padding = ((0, capacity - len(specs)),)
    return Vehicles(
        position=_f32(np.pad(position, (*padding, (0, 0), (0, 0)))),
        yaw=_f32(np.pad(yaw, (*padding, (0, 0)))),
        size=_f32(np.pad([spec.size for spec in specs], (*padding, (0, 0)), constant_values=1.0)),
        kind=jax.device_put(np.pad([VEHICLE_CLASSES.index(spec.kind) for spec in specs], padding).astype(np.int32)),
        valid=jax.device_put(np.arange(capacity) < len(specs)),
    )


def _drive(
    rng: np.random.Generator, config: StreetConfig, curvature: float, times: Float[np.ndarray, "T"]
) -> Float[np.ndarray, "T 4 4"]:
    """Draw world_from_ego: near the lane center, with a drift of a few centimeters."""
    s = config.speed * times
    drift, length = rng.uniform(-DRIFT, DRIFT), rng.uniform(25, 40)
    n = drift * (1.0 - np.cos(2 * np.pi * s / length))
    yaw = curvature * s + drift * 2 * np.pi / length * np.sin(2 * np.pi * s / length)
    pose = np.tile(np.eye(4), (len(s), 1, 1))
    pose[:, :2, 3] = street_to_world(curvature, s, n)
    pose[:, 0, 0] = pose[:, 1, 1] = np.cos(yaw)
    pose[:, 0, 1], pose[:, 1, 0] = -np.sin(yaw), np.sin(yaw)
    return pose


def _exposures(rng: np.random.Generator, config: StreetConfig) -> Float[np.ndarray, "T 2"]:
    steps = np.arange(config.num_frames)
    if not config.exposure_drift:
        return np.tile([1.0, 0.0], (config.num_frames, 1))
    period, phase = rng.uniform(12, 30), rng.uniform(0, 2 * np.pi, 2)
    gain = 1.0 + 0.18 * np.sin(2 * np.pi * steps / period + phase[0])
    return np.stack([gain, 0.03 * np.sin(2 * np.pi * steps / period + phase[1])], -1)


def make_street(seed: int, config: StreetConfig = DEFAULT) -> Street:
    """Build the street of `seed`; streets of one config have equal shapes and share compiled programs.

    Raises:
        ValueError: settings without a frame, or more parts than `config.capacities` holds.
    """
    if config.num_frames < 1:
        raise ValueError(f"invalid {config.num_frames=}: expected 1 or more.")
    # One random stream per subject: a change of one subject does not change the others.
    layout, building, planting, traffic, drive = (np.random.default_rng([seed, k]) for k in range(5))
    times = np.arange(config.num_frames) / config.frame_rate
    section = _cross_section(layout, config)
    road = _road(layout, config, section)
    curvature, crossing = float(road.curvature), np.asarray(road.crossing, float)
    facades, verges = np.asarray(road.facades, float), np.asarray(road.verges, float)
    specs = cars.parked_vehicles(traffic, config, section.bays, crossing)
    if config.moving:
        specs += cars.moving_vehicles(traffic, config, section.lanes, section.oncoming)
    parts = houses.houses(building, curvature, facades[0], facades[1], -config.behind, config.ahead)
    course = street_furniture.Course(curvature, -config.behind, config.ahead, crossing)
    parts += street_furniture.furniture(planting, course, section.curbs, verges, facades)
    for k, spec in enumerate(specs):
        parts += cars.vehicle_parts(traffic, spec, k + 1)
    return Street(
        primitives=pack(parts, config.capacities.counts()),
        road=road,
        sky=_sky(layout),
        vehicles=_vehicles(specs, curvature, times, config.num_parked + config.num_moving),
        world_from_ego=_f32(_drive(drive, config, curvature, times)),
        times=_f32(times),
        exposures=_f32(_exposures(drive, config)),
        horizontal_fov=_f32(config.horizontal_fov),
        camera_height=_f32(config.camera_height),
    )
