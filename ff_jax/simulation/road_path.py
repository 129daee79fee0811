"""The recorded drive as the reference line of a road: stations at equal distances, and points in its coordinates."""

import dataclasses
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ff_jax.data.scene_data import SceneData
from ff_jax.simulation.driving.traffic import rig_height

SPACING = 2.0  # meters between stations: chords of a curve of 20 m radius are 2.5 cm off
EXTENSION = 20.0  # meters, straight, before the first and after the last recorded pose
MIN_LENGTH, MIN_STEP = 4.0, 0.5  # meters: a shorter drive is no road; poses that are closer have no direction
MAX_PAIRS = 1 << 22  # of points and stations that are compared at once

Array = np.ndarray


class RoadPoints(NamedTuple):
    """Points in the coordinates of a road."""

    along: Float[Array, "N"]  # meters from the first station
    left: Float[Array, "N"]  # meters from the reference line
    above: Float[Array, "N"]  # meters above it


@dataclasses.dataclass(frozen=True, eq=False)
class RoadPath:
    """The reference line of a road, local frame, on the ground.

    Attributes:
        stations: its points, meters.
    """

    stations: Float[Array, "S 3"]

    @cached_property
    def steps(self) -> Float[Array, "pieces 2"]:
        """Return the way from each station to the next in the plane."""
        return np.diff(self.stations[:, :2], axis=0)

    @cached_property
    def along(self) -> Float[Array, "S"]:
        """Return the length of the line up to each station, meters."""
        return np.concatenate([[0.0], np.cumsum(np.linalg.norm(self.steps, axis=1))])

    @cached_property
    def headings(self) -> Float[Array, "S"]:
        """Return the direction from each station to the next, radians; the last one is that of the one before."""
        angles = np.unwrap(np.arctan2(self.steps[:, 1], self.steps[:, 0]))
        return np.append(angles, angles[-1])

    def project(self, points: Float[Array, "N 3"]) -> RoadPoints:
        """Convert points (local frame, meters) to the coordinates of the road, by the nearest segment."""
        chunk = max(MAX_PAIRS // len(self.steps), 1)
        parts = [self._project(points[i : i + chunk]) for i in range(0, max(len(points), 1), chunk)]
        return RoadPoints(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def _project(self, points: Float[Array, "N 3"]) -> RoadPoints:
        lengths = np.linalg.norm(self.steps, axis=1)
        offsets = points[:, None, :2] - self.stations[None, :-1, :2]
        shares = np.clip((offsets * self.steps).sum(-1) / lengths**2, 0, 1)
        nearest = np.linalg.norm(offsets - shares[..., None] * self.steps, axis=-1).argmin(1)
        rows = np.arange(len(points))
        share, offset = shares[rows, nearest], offsets[rows, nearest]
        ahead = self.steps[nearest] / lengths[nearest, None]
        height = self.stations[nearest, 2] + share * np.diff(self.stations[:, 2])[nearest]
        left = ahead[:, 0] * offset[:, 1] - ahead[:, 1] * offset[:, 0]
        return RoadPoints(self.along[nearest] + share * lengths[nearest], left, points[:, 2] - height)

    def place(self, left: Float[Array, "S"], above: Float[Array, "S"] | float = 0.0) -> Float[Array, "S 3"]:
        """Compute the points beside all stations (local frame, meters)."""
        sides = np.stack([-np.sin(self.headings), np.cos(self.headings)], -1)
        plane = self.stations[:, :2] + left[:, None] * sides
        return np.concatenate([plane, (self.stations[:, 2] + above)[:, None]], 1)


def road_path(log: SceneData, local_from_world: Float[Array, "4 4"]) -> RoadPath | None:
    """Make the reference line below the recorded drive; None if the vehicle hardly moves."""
    poses = local_from_world @ np.asarray(log.world_from_ego, np.float64)
    points = (poses @ np.array([0.0, 0.0, -rig_height(log), 1.0]))[:, :3]
    kept = [points[0]]
    for point in points[1:]:
        if np.linalg.norm((point - kept[-1])[:2]) >= MIN_STEP:
            kept.append(point)
    line = np.stack(kept)
    if np.linalg.norm(np.diff(line[:, :2], axis=0), axis=1).sum() < MIN_LENGTH:
        return None
    first, last = (ends / np.linalg.norm(ends[:2]) for ends in (line[1] - line[0], line[-1] - line[-2]))
    line = np.concatenate([line[:1] - EXTENSION * first, line, line[-1:] + EXTENSION * last])
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line[:, :2], axis=0), axis=1))])
    places = np.arange(0, lengths[-1], SPACING)
    return RoadPath(np.stack([np.interp(places, lengths, line[:, axis]) for axis in range(3)], 1))
