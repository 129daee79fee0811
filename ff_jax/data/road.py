"""Find the road below the cameras among sparse points: its slope, the height of the cameras above it, its points."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import KDTree

from ff_jax.data.scene_data import Frame, SceneData, SparsePoints, ego_from_front_camera, invert_rigid, transform

MAX_VIEWS, MAX_POINTS, TRIALS = 60, 4000, 600
SLOPES = (0.05, 1.0)  # down per forward of points that may be road: from 3 to 45 degrees below the horizon
MAX_SIDE = 0.6  # sideways per forward
MAX_TILT = 0.3  # of the road in the frame of the camera, radians
TOLERANCE = 0.05  # distance from the plane, as a share of the height
MIN_POINTS, MIN_SHARE = 20, 0.2  # of the points below the horizon that are on the road

Array = np.ndarray


class Road(NamedTuple):
    """The plane of the road in the ego frame: points with normal @ point = -height."""

    height: float  # of the ego frame above the road, in the units of the scene
    normal: Float[Array, "3"]  # up, in the ego frame


def find_road(scene: SceneData, seed: int = 0) -> Road:
    """Fit one plane to the points below all ego poses of a log (RANSAC).

    Args:
        scene: a log with sparse points; its ego frame is at a camera that looks forward.
        seed: of the trials.

    Raises:
        ValueError: there are no points, or no plane has enough of them.
    """
    rng = np.random.default_rng(seed)
    local = _below_horizon(scene, rng)
    best = _best_plane(local, rng) if len(local) >= MIN_POINTS else np.zeros(len(local), bool)
    if best.sum() < max(MIN_POINTS, MIN_SHARE * len(local)):
        raise ValueError(
            f"scene {scene.name!r}: no road was found below the cameras ({best.sum()} of {len(local)} points are on "
            "one plane): set ?scale= to the number of meters per unit."
        )
    # The plane n @ x = -1 has the normal n / |n| and the height 1 / |n|.
    plane = -np.linalg.lstsq(local[best], np.ones(best.sum()), rcond=None)[0]
    length = float(np.linalg.norm(plane))
    return Road(1 / length, plane / length)


def leveled(scene: SceneData, road: Road) -> SceneData:
    """Turn the ego frames of a scene so that z is the normal of the road, and x forward along it."""
    forward = np.array([1.0, 0, 0]) - road.normal[0] * road.normal
    forward /= np.linalg.norm(forward)
    turn = np.eye(4)
    turn[:3, :3] = np.stack([forward, np.cross(road.normal, forward), road.normal], -1)
    return replace(scene, world_from_ego=scene.world_from_ego @ turn)


def on_road(scene: SceneData, xyz: Float[Array, "N 3"], seed: int = 0) -> Bool[Array, "N"]:
    """Find the points (world) on the road: near the plane of the road below the nearest position of a camera.

    The camera is the one that looks most along the path; one plane relative to it is fitted to the points.

    Args:
        scene: the log.
        xyz: measured points, for example of LiDAR.
        seed: of the trials.

    Raises:
        ValueError: no plane has enough of the points.
    """
    poses = ego_from_front_camera(np.stack([frame.world_from_camera for frame in _forward_frames(scene)]))
    road = find_road(replace(scene, world_from_ego=poses, points=SparsePoints(xyz)), seed)
    nearest = KDTree(poses[:, :3, 3]).query(xyz)[1]
    local = np.einsum("nji,nj->ni", poses[nearest, :3, :3], xyz - poses[nearest, :3, 3])
    return np.abs(local @ road.normal + road.height) <= TOLERANCE * road.height


def _forward_frames(scene: SceneData) -> list[Frame]:
    """List the frames of the camera whose axis is nearest to the direction of travel."""

    def alignment(name: str) -> float:
        own = [frame for frame in scene.frames if frame.camera == name]
        return float(np.mean([f.world_from_camera[:3, 2] @ scene.world_from_ego[f.time_index][:3, 0] for f in own]))

    name = max(scene.cameras, key=alignment)
    return [frame for frame in scene.frames if frame.camera == name]


def _below_horizon(scene: SceneData, rng: np.random.Generator) -> Float[Array, "N 3"]:
    """Sample the points in front of and below the ego frame, in the ego frames of some time steps."""
    if scene.points is None:
        return np.zeros((0, 3))
    steps = np.unique(np.linspace(0, len(scene.world_from_ego) - 1, MAX_VIEWS).round().astype(int))
    local = np.concatenate([transform(invert_rigid(pose), scene.points.xyz) for pose in scene.world_from_ego[steps]])
    forward, left, up = local.T
    slope, side = (
        np.divide(a, forward, out=np.full(len(local), np.inf), where=forward > 0) for a in (-up, np.abs(left))
    )
    local = local[(slope > SLOPES[0]) & (slope < SLOPES[1]) & (side < MAX_SIDE)]
    return local[rng.permutation(len(local))[:MAX_POINTS]]


def _best_plane(points: Float[Array, "N 3"], rng: np.random.Generator) -> Bool[Array, "N"]:
    """Find the points on the plane through three of them that has the most points."""
    corners = points[rng.integers(len(points), size=(TRIALS, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    normals = normals * (np.sign(normals[:, 2]) / np.maximum(lengths, 1e-300))[:, None]
    heights = -np.einsum("ti,ti->t", normals, corners[:, 0])
    possible = (lengths > 0) & (heights > 0) & (normals[:, 2] > np.cos(MAX_TILT))
    near = (np.abs(points @ normals.T + heights) <= TOLERANCE * heights) & possible
    return near[:, near.sum(0).argmax()]
