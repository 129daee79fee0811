"""The recorded drive as a route: where a vehicle is along it, and how the ground lies there. Local frame, meters."""

import dataclasses
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from ff_jax.simulation.driving.bicycle import REAR, VehicleState

MIN_LENGTH = 1.0  # meters: a shorter recording is no route

Array = np.ndarray


class RoutePoint(NamedTuple):
    """The point of a route that is nearest to a place."""

    along: float  # meters from the start
    distance: float  # meters from the place


@dataclasses.dataclass(frozen=True, eq=False)
class Route:
    """A recorded drive.

    Attributes:
        times: seconds, increasing.
        local_from_rig: the poses of the vehicle.
    """

    times: Float[Array, "T"]
    local_from_rig: Float[Array, "T 4 4"]

    @cached_property
    def points(self) -> Float[Array, "T 2"]:
        """Return the reference points of the vehicle (`bicycle`) in the plane."""
        return self.local_from_rig[:, :2, 3] + REAR * self.local_from_rig[:, :2, 0]

    @cached_property
    def along(self) -> Float[Array, "T"]:
        """Return the length of the path up to each point, meters."""
        return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(self.points, axis=0), axis=1))])

    @property
    def length(self) -> float:
        """Return the length of the path, meters."""
        return float(self.along[-1])

    @cached_property
    def speeds(self) -> Float[Array, "T"]:
        """Return the recorded speeds, m/s."""
        return np.maximum(np.gradient(self.along, self.times), 0.0)

    @cached_property
    def yaws(self) -> Float[Array, "T"]:
        """Return the recorded headings, radians, without jumps by a turn."""
        return np.unwrap(np.arctan2(self.local_from_rig[:, 1, 0], self.local_from_rig[:, 0, 0]))

    def nearest(self, place: Float[Array, "2"]) -> RoutePoint:
        """Find the point of the path that is nearest to a place."""
        starts, steps = self.points[:-1], np.diff(self.points, axis=0)
        squares = np.maximum((steps**2).sum(1), 1e-12)
        shares = np.clip(((place - starts) * steps).sum(1) / squares, 0.0, 1.0)
        distances = np.linalg.norm(starts + shares[:, None] * steps - place, axis=1)
        index = int(np.argmin(distances))
        length = self.along[index + 1] - self.along[index]
        return RoutePoint(float(self.along[index] + shares[index] * length), float(distances[index]))

    def point_at(self, along: float | int) -> Float[Array, "2"]:
        """Return the point of the path at a length; beyond its end, on the straight line ahead."""
        beyond = max(along - self.length, 0.0)
        ahead = np.array([np.cos(self.yaws[-1]), np.sin(self.yaws[-1])])
        return self._at(along, self.points) + beyond * ahead

    def speed_at(self, along: float) -> float:
        """Return the recorded speed at a length of the path, m/s."""
        return float(self._at(along, self.speeds))

    def _at(self, along: float | int, values: Float[Array, "T *n"]) -> Float[Array, "*n"]:
        """Interpolate values at a length of the path; a vehicle that stands still has several at one length."""
        index = int(np.clip(np.searchsorted(self.along, along) - 1, 0, len(self.along) - 2))
        span = self.along[index + 1] - self.along[index]
        share = float(np.clip((along - self.along[index]) / span, 0, 1)) if span > 0 else 0.0
        return np.asarray((1 - share) * values[index] + share * values[index + 1])

    def state_at(self, time: float) -> VehicleState:
        """Return the recorded state at a time, with straight wheels."""
        x, y = (float(np.interp(time, self.times, self.points[:, axis])) for axis in range(2))
        yaw, speed = (float(np.interp(time, self.times, values)) for values in (self.yaws, self.speeds))
        return VehicleState(x, y, yaw, speed)

    def rig_pose(self, state: VehicleState) -> Float[Array, "4 4"]:
        """Compute local_from_rig of a vehicle: its height, pitch and roll are those recorded at the nearest point."""
        along = self.nearest(np.array([state.x, state.y])).along
        index = int(np.argmin(np.abs(self.along - along)))
        pose = np.eye(4)
        turn = Rotation.from_euler("z", state.yaw - self.yaws[index]).as_matrix()
        pose[:3, :3] = turn @ self.local_from_rig[index, :3, :3]
        pose[:2, 3] = np.array([state.x, state.y]) - REAR * pose[:2, 0]
        pose[2, 3] = self._at(along, self.local_from_rig[:, 2, 3])
        return pose


def make_route(times: Float[Array, "T"], local_from_rig: Float[Array, "T 4 4"]) -> Route:
    """Make the route of a recording.

    Raises:
        ValueError: the vehicle does not move.
    """
    route = Route(np.asarray(times, np.float64), np.asarray(local_from_rig, np.float64))
    if len(times) < 2 or route.length < MIN_LENGTH:
        raise ValueError(f"the recorded drive is shorter than {MIN_LENGTH:g} m: a route needs a vehicle that moves.")
    return route
