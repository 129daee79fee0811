"""What a vehicle must not touch: boxes of others, edges of the road, and Gaussians of the background."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from ff_jax.data.scene_data import Box, SceneData, invert_rigid, tracks
from ff_jax.simulation.driving.bicycle import VehicleState

LENGTH, WIDTH, HEIGHT = 4.6, 1.9, 1.6  # meters, of the vehicle; its box is centered on the reference point
CLEARANCE = 0.3  # meters above the ground: lower Gaussians are the road
MIN_BOXES, NEAR = 30, 30.0  # boxes of vehicles within so many meters that tell how high the ego frame is
MIN_OPACITY, MAX_GAUSSIANS = 0.8, 100  # more Gaussians of at least this opacity are an obstacle (as in HUGSIM)

Array = np.ndarray


class Placed(NamedTuple):
    """A box at one time."""

    local_from_object: Float[Array, "4 4"]
    size: Float[Array, "3"]  # length, width, height, meters


def rectangle(
    x: float | int, y: float | int, yaw: float | int, length: float = LENGTH, width: float = WIDTH
) -> Float[Array, "4 2"]:
    """Compute the corners of a rectangle in the plane, counterclockwise."""
    ahead, left = np.array([np.cos(yaw), np.sin(yaw)]) * length / 2, np.array([-np.sin(yaw), np.cos(yaw)]) * width / 2
    return np.array([x, y]) + np.stack([ahead + left, left - ahead, -ahead - left, ahead - left])


def footprint(box: Placed) -> Float[Array, "4 2"]:
    """Compute the corners of a box in the plane."""
    pose, (length, width, _) = box
    return rectangle(pose[0, 3], pose[1, 3], np.arctan2(pose[1, 0], pose[0, 0]), length, width)


def overlap(first: Float[Array, "4 2"], second: Float[Array, "4 2"]) -> bool:
    """Check whether two rectangles overlap: no side of either separates them (separating axis theorem)."""
    for corners in (first, second):
        for axis in (corners[0] - corners[1], corners[1] - corners[2]):
            a, b = first @ axis, second @ axis
            if a.max() < b.min() or b.max() < a.min():
                return False
    return True


class _Path(NamedTuple):
    times: Float[Array, "n"]
    positions: Float[Array, "n 3"]
    rotations: Rotation
    size: Float[Array, "3"]


@dataclasses.dataclass(frozen=True, eq=False)
class Traffic:
    """The tracked objects of a log, which drive as recorded.

    Attributes:
        paths: of every object by track id; `make_traffic` makes them.
        margin: seconds before its first and after its last box that an object exists.
    """

    paths: dict[str, _Path]
    margin: float

    def at(self, time: float) -> dict[str, Placed]:
        """Return the boxes at a time (seconds) by track id; between recorded times they are interpolated."""
        return {
            name: Placed(_pose_at(path, time), path.size)
            for name, path in self.paths.items()
            if path.times[0] - self.margin <= time <= path.times[-1] + self.margin
        }


def _pose_at(path: _Path, time: float) -> Float[Array, "4 4"]:
    pose, last = np.eye(4), len(path.times) - 1
    below = int(np.clip(np.searchsorted(path.times, time, side="right") - 1, 0, max(last - 1, 0)))
    above = min(below + 1, last)
    span = path.times[above] - path.times[below]
    share = float(np.clip((time - path.times[below]) / span, 0, 1)) if span > 0 else 0.0
    step = (path.rotations[below].inv() * path.rotations[above]).as_rotvec()
    pose[:3, :3] = (path.rotations[below] * Rotation.from_rotvec(share * step)).as_matrix()
    pose[:3, 3] = (1 - share) * path.positions[below] + share * path.positions[above]
    return pose


def make_traffic(log: SceneData, local_from_world: Float[Array, "4 4"]) -> Traffic:
    """Collect the tracked objects of a log."""
    steps = np.diff(log.times)
    paths = {name: _path(boxes, log, local_from_world) for name, boxes in tracks(log).items()}
    return Traffic(paths, 0.5 * float(np.median(steps)) if len(steps) else 0.0)


def rig_height(log: SceneData) -> float:
    """Estimate the height of the ego frame above the road, meters, from the bottoms of the tracked vehicles around it.

    The ego frame of a log is on the road, but that of some data sets is at a camera or a LiDAR. With few vehicles it is
    taken to be on the road.
    """
    bottoms = []
    for box in log.boxes:
        x, y, z = (invert_rigid(log.world_from_ego[box.time_index]) @ box.world_from_object)[:3, 3]
        if box.category == "vehicle" and np.hypot(x, y) < NEAR:
            bottoms.append(z - box.size[2] / 2)
    return -float(np.median(bottoms)) if len(bottoms) >= MIN_BOXES else 0.0


def _path(boxes: tuple[Box, ...], log: SceneData, local_from_world: Float[Array, "4 4"]) -> _Path:
    poses = local_from_world @ np.stack([np.asarray(box.world_from_object, np.float64) for box in boxes])
    times = np.array([log.times[box.time_index] for box in boxes], np.float64)
    size = np.mean([box.size for box in boxes], axis=0)
    return _Path(times, poses[:, :3, 3], Rotation.from_matrix(poses[:, :3, :3]), size)


def road_edges(log: SceneData, local_from_world: Float[Array, "4 4"]) -> Float[Array, "E 2 2"]:
    """Collect the edges of the road as segments in the plane; none where the log has no map."""
    segments = [np.zeros((0, 2, 2))]
    for lane in log.lanes:
        if lane.kind == "road_edge" and len(lane.points) > 1:
            points = (np.asarray(lane.points) @ local_from_world[:3, :3].T + local_from_world[:3, 3])[:, :2]
            segments.append(np.stack([points[:-1], points[1:]], 1))
    return np.concatenate(segments)


def crosses(start: Float[Array, "2"], end: Float[Array, "2"], segments: Float[Array, "E 2 2"]) -> bool:
    """Check whether a straight line from `start` to `end` crosses any of some segments."""

    def side(a: Float[Array, "... 2"], b: Float[Array, "... 2"], p: Float[Array, "... 2"]) -> Float[Array, "..."]:
        (abx, aby), (apx, apy) = np.moveaxis(b - a, -1, 0), np.moveaxis(p - a, -1, 0)
        return abx * apy - aby * apx

    first, second = segments[:, 0], segments[:, 1]
    apart = side(start, end, first) * side(start, end, second) < 0
    across = side(first, second, start) * side(first, second, end) < 0
    return bool((apart & across).any())


def is_on_road(corners: Float[Array, "4 2"], nearest_on_route: Float[Array, "2"], edges: Float[Array, "E 2 2"]) -> bool:
    """Check that no edge of the road lies between the route and a corner of the vehicle: the route is on the road."""
    return not any(crosses(nearest_on_route, corner, edges) for corner in corners)


def hits_background(means: Float[Array, "N 3"], solid: Bool[Array, "N"], state: VehicleState, ground: float) -> bool:
    """Check whether the box of the vehicle is full of opaque Gaussians.

    Args:
        means: centers of the background's Gaussians, local frame, without those of the ground.
        solid: whether each has at least `MIN_OPACITY`.
        state: of the vehicle.
        ground: height of the ground at the vehicle, meters.
    """
    offset = means[solid] - np.array([state.x, state.y, ground])
    along = offset[:, 0] * np.cos(state.yaw) + offset[:, 1] * np.sin(state.yaw)
    across = offset[:, 1] * np.cos(state.yaw) - offset[:, 0] * np.sin(state.yaw)
    inside = (np.abs(along) < LENGTH / 2) & (np.abs(across) < WIDTH / 2)
    return int((inside & (offset[:, 2] > CLEARANCE) & (offset[:, 2] < HEIGHT)).sum()) > MAX_GAUSSIANS
