"""Find the road below the cameras among sparse points: its slope, and the height of the cameras above it."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ff_jax.data.scene_data import SceneData, invert_rigid, transform

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
