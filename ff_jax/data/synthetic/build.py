"""Lay out a street from a seed (host side) and pack it into arrays."""

import jax
import jax.numpy as jnp
import numpy as np

from ff_jax.data.synthetic import houses, street_furniture
from ff_jax.data.synthetic import vehicles as cars
from ff_jax.data.synthetic.ground import place
from ff_jax.data.synthetic.primitive_builders import pack
from ff_jax.data.synthetic.types import VEHICLE_CLASSES, Sky, Street, Vehicles, World, WorldConfig

LINES = 8  # slots for painted lines
DEFAULT = WorldConfig()
# Metres between the clear corridor and vehicles: the ego drifts by DRIFT * 2, and an arc bends by 0.1 m in 12 m.
GAP = 0.4
DRIFT = 0.06  # metres: amplitude of the ego about its lane centre


def _f32(value) -> jnp.ndarray:
    return jax.device_put(np.asarray(value, np.float32))


def _cross_section(rng, config: WorldConfig):
    """Return lines (n, dash, period, yellow), bays, kerbs, lane centres and the place of oncoming cars."""
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
    kerbs = (bay_right[0] - 0.1, bay_left[1] + 0.1)
    oncoming = max(end - 0.5 * lane, config.clear_left + GAP + 1.0)
    return lines, (bay_right, bay_left), kerbs, (0.0, lane), oncoming


def _street(rng, config: WorldConfig, lines, bays, kerbs) -> Street:
    verges = rng.uniform(1.3, 1.9, 2)
    walks = rng.uniform(2.4, 3.8, 2)
    pad = [(0.0, 0.0, 1.0, False)] * (LINES - len(lines))
    n, dash, period, yellow = (np.array(column) for column in zip(*lines, *pad, strict=True))
    crossing = rng.uniform(20, 55)
    return Street(
        curvature=_f32(rng.uniform(-1, 1) * config.max_curvature),
        kerbs=_f32(kerbs),
        kerb_height=_f32(0.13),
        verges=_f32(verges),
        facades=_f32((kerbs[0] - verges[0] - walks[0], kerbs[1] + verges[1] + walks[1])),
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


def _sky(rng) -> Sky:
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


def _vehicles(specs, curvature: float, times: np.ndarray, capacity: int) -> Vehicles:
    position, yaw = cars.tracks(specs, curvature, times)
    missing = ((0, capacity - len(specs)),)
    return Vehicles(
        position=_f32(np.pad(position, (*missing, (0, 0), (0, 0)))),
        yaw=_f32(np.pad(yaw, (*missing, (0, 0)))),
        size=_f32(np.pad([spec.size for spec in specs], (*missing, (0, 0)), constant_values=1.0)),
        kind=jax.device_put(np.pad([VEHICLE_CLASSES.index(spec.kind) for spec in specs], missing).astype(np.int32)),
        valid=jax.device_put(np.arange(capacity) < len(specs)),
    )


def _drive(rng, config: WorldConfig, curvature: float, times: np.ndarray) -> np.ndarray:
    """Return world_from_ego: near the lane centre, drifting by a few centimetres."""
    s = config.speed * times
    drift, length = rng.uniform(-DRIFT, DRIFT), rng.uniform(25, 40)
    n = drift * (1.0 - np.cos(2 * np.pi * s / length))
    yaw = curvature * s + drift * 2 * np.pi / length * np.sin(2 * np.pi * s / length)
    pose = np.tile(np.eye(4), (len(s), 1, 1))
    pose[:, :2, 3] = place(curvature, s, n)
    pose[:, 0, 0], pose[:, 0, 1], pose[:, 1, 0], pose[:, 1, 1] = (
        np.cos(yaw),
        -np.sin(yaw),
        np.sin(yaw),
        np.cos(yaw),
    )
    return pose


def _exposures(rng, config: WorldConfig) -> np.ndarray:
    steps = np.arange(config.num_frames)
    if not config.exposure_drift:
        return np.tile([1.0, 0.0], (config.num_frames, 1))
    period, phase = rng.uniform(12, 30), rng.uniform(0, 2 * np.pi, 2)
    gain = 1.0 + 0.18 * np.sin(2 * np.pi * steps / period + phase[0])
    return np.stack([gain, 0.03 * np.sin(2 * np.pi * steps / period + phase[1])], -1)


def make_world(seed: int, config: WorldConfig = DEFAULT) -> World:
    """Return the street of `seed`; worlds of one config have equal shapes, so nothing is compiled again.

    Raises:
        ValueError: settings without a frame, or more parts than `config.capacities` holds.
    """
    if config.num_frames < 1:
        raise ValueError(f"{config.num_frames=} must be at least 1.")
    # One stream per subject: a change of one subject leaves the others as they are.
    layout, building, planting, traffic, drive = (np.random.default_rng([seed, k]) for k in range(5))
    times = np.arange(config.num_frames) / config.frame_rate
    lines, bays, kerbs, lanes, oncoming = _cross_section(layout, config)
    street = _street(layout, config, lines, bays, kerbs)
    curvature, crossing = float(street.curvature), np.asarray(street.crossing, float)
    facades, verges = np.asarray(street.facades, float), np.asarray(street.verges, float)
    specs = cars.parked(traffic, config, bays, crossing)
    if config.moving:
        specs += cars.driving(traffic, config, lanes, oncoming)
    parts = houses.houses(building, curvature, facades[0], facades[1], -config.behind, config.ahead)
    parts += street_furniture.furniture(
        planting, curvature, kerbs, verges, facades, -config.behind, config.ahead, crossing
    )
    for k, spec in enumerate(specs):
        parts += cars.vehicle_parts(traffic, spec, k + 1)
    return World(
        primitives=pack(parts, config.capacities.counts()),
        street=street,
        sky=_sky(layout),
        vehicles=_vehicles(specs, curvature, times, config.num_parked + config.num_moving),
        world_from_ego=_f32(_drive(drive, config, curvature, times)),
        times=_f32(times),
        exposures=_f32(_exposures(drive, config)),
        horizontal_fov=_f32(config.horizontal_fov),
        camera_height=_f32(config.camera_height),
    )
