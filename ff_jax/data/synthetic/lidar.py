"""Simulate LiDAR sweeps of the street: uneven beams, range noise, lost returns and intensity."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jaxtyping import Bool, Float, Int, Key

from ff_jax.data.synthetic.facades import Appearance
from ff_jax.data.synthetic.ground import FAR
from ff_jax.data.synthetic.ray_casting import make_lists, reach_cone
from ff_jax.data.synthetic.ray_intersections import geometry_table
from ff_jax.data.synthetic.surface_points import Surface, find_surface, surface_appearance
from ff_jax.data.synthetic.types import Street
from ff_jax.data.synthetic.vectors import dot

BLOCK = 12  # azimuth steps of a block of rays that share a list of primitives
BEAM_WIDTH = 0.003  # radians


@dataclasses.dataclass(frozen=True)
class LidarPattern:
    """A spinning sensor: beams are dense near the horizon and sparse below, as on common road sensors."""

    beams: int = 32
    azimuths: int = 900
    sector: float = 360.0  # degrees, centerd on the direction of travel
    lowest: float = -25.0  # degrees
    highest: float = 13.0  # degrees
    max_range: float = 100.0  # meters
    range_noise: float = 0.02  # meters, standard deviation
    drop: float = 0.03  # share of returns lost at random
    mount: tuple[float, float, float] = (1.0, 0.0, 1.9)  # meters in the ego frame

    def elevations(self) -> np.ndarray:
        """Compute the beam elevations in radians, lowest first: spacing grows away from the horizon."""
        u = np.linspace(-1.0, 1.0, self.beams)
        bend = 0.35 * u + 0.65 * np.sign(u) * u**2
        return np.deg2rad(np.where(bend < 0, -bend * self.lowest, bend * self.highest))


DEFAULT = LidarPattern()


@struct.dataclass
class LidarReturns:
    """The returns of one sweep in the LiDAR frame (x forward, y left, z up); entries that are not valid are zero."""

    points: Float[Array, "R 3"]  # meters
    intensity: Float[Array, "R"]  # [0, 1]
    valid: Bool[Array, "R"]
    instance: Int[Array, "R"]  # track id; 0: none
    world_from_lidar: Float[Array, "4 4"]


def _directions(pattern: LidarPattern) -> Float[Array, "R 3"]:
    """Compute unit directions, azimuth-major, padded to whole blocks."""
    count = -(-pattern.azimuths // BLOCK) * BLOCK
    azimuth = np.deg2rad(pattern.sector) * ((np.arange(count) + 0.5) / pattern.azimuths - 0.5)
    azimuth, elevation = np.meshgrid(azimuth, pattern.elevations(), indexing="ij")
    direction = np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], -1
    )
    return jnp.asarray(direction.reshape(-1, 3), jnp.float32)


def _returns(
    key: Key[Array, ""],
    pattern: LidarPattern,
    appearance: Appearance,
    cosine: Float[Array, "B R"],
    distance: Float[Array, "B R"],
) -> tuple[Float[Array, "B R"], Bool[Array, "B R"]]:
    """Compute the intensity, and which pulses return: weak echoes and panes are lost, and some at random."""
    albedo, gloss = appearance.albedo, appearance.gloss
    reflectance = jnp.mean(albedo, 0) * jnp.clip(cosine, 0.0, 1.0) * (1.0 - 0.8 * jnp.clip(gloss, 0.0, 1.0))
    intensity = jnp.clip(1.6 * reflectance, 0.0, 1.0)
    strength = (reflectance + 0.004) / (1.0 + (distance / 40.0) ** 2)
    lost = pattern.drop + (1.0 - pattern.drop) * jnp.exp(-strength / 0.0015)
    return intensity, jax.random.uniform(key, distance.shape) > lost


def simulate_lidar(
    key: Array, street: Street, time_index: int | Int[Array, ""], pattern: LidarPattern = DEFAULT
) -> LidarReturns:
    """Simulate one sweep of R = beams * azimuths rays at the time of a frame (no motion during the sweep).

    Args:
        key: of the range noise and of the lost returns.
        street: the street and the drive.
        time_index: frame of the drive.
        pattern: of the beams.
    """
    frame = jnp.asarray(time_index, jnp.float32)
    ego_from_lidar = jnp.eye(4).at[:3, 3].set(jnp.array(pattern.mount))
    pose = jnp.matmul(street.world_from_ego[time_index], ego_from_lidar, precision="highest")
    local = _directions(pattern)
    direction = jnp.matmul(local, pose[:3, :3].T, precision="highest").reshape(-1, BLOCK * pattern.beams, 3)
    direction = jnp.moveaxis(direction, -1, 0)
    table = geometry_table(street.primitives, street.vehicles, frame)
    lists = make_lists(street.primitives, reach_cone(table[:, :3], street.primitives.radius, pose[:3, 3], direction))
    origin = jnp.broadcast_to(pose[:3, 3][:, None, None], direction.shape)
    surface: Surface = find_surface(street, table, lists, origin, direction, jnp.float32(BEAM_WIDTH))
    appearance, _ = surface_appearance(street, surface, direction, jnp.float32(BEAM_WIDTH))
    noise_key, drop_key = jax.random.split(key)
    cosine = -dot(surface.normal, direction)
    intensity, is_returned = _returns(drop_key, pattern, appearance, cosine, surface.t)
    distance = surface.t + pattern.range_noise * jax.random.normal(noise_key, surface.t.shape)
    valid = is_returned & (surface.t < min(pattern.max_range, FAR / 2))
    owner = street.primitives.owner[jnp.maximum(surface.primitive, 0)]
    instance = jnp.where(valid & (surface.primitive >= 0), owner, 0).reshape(-1)
    rays = pattern.beams * pattern.azimuths
    valid, points = valid.reshape(-1), local * distance.reshape(-1, 1)
    points = jnp.where(valid[:, None], points, 0.0)
    intensity = jnp.where(valid, intensity.reshape(-1), 0.0)
    return LidarReturns(points[:rays], intensity[:rays], valid[:rays], instance[:rays], pose)
