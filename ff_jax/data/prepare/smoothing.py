"""Smooth tracks and camera paths: remove the jitter of measured poses with smoothing splines."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy import sparse
from scipy.sparse.linalg import spsolve
from scipy.spatial.transform import Rotation

from ff_jax.data.scene_data import Box, Frame, SceneData, moving_tracks, tracks

Array = np.ndarray


def smooth_tracks(
    scene: SceneData,
    *,
    jitter: float = 0.1,
    acceleration: float = 2.0,
    turn_jitter: float = 1.0,
    spin: float = 20.0,
    tilt: float = 0.5,
) -> SceneData:
    """Smooth the poses of the boxes of moving tracks; times and sizes stay.

    Every path is the most probable one for boxes with standard error `jitter` and a velocity with white acceleration
    noise: a cubic smoothing spline (Whittaker, On a New Method of Graduation, 1923).

    Args:
        scene: the log.
        jitter: standard error of a box's position per axis, meters.
        acceleration: root mean square acceleration over one second, m/s^2.
        turn_jitter: standard error of a box's rotation about each axis, degrees.
        spin: root mean square change of the yaw rate over one second, degrees/s^2.
        tilt: the same of roll and pitch (about x and y of the box); small, because the ground is smooth.

    Raises:
        ValueError: a setting is not positive.
    """
    if min(jitter, acceleration, turn_jitter, spin, tilt) <= 0:
        raise ValueError(f"{jitter=}, {acceleration=}, {turn_jitter=}, {spin=}, {tilt=} must be positive.")
    moving, new_boxes = moving_tracks(scene), {}
    for name, boxes in tracks(scene).items():
        if name in moving and len(boxes) > 2:
            times = scene.times[[box.time_index for box in boxes]]
            for box in _smooth_boxes(boxes, times, jitter / acceleration, (turn_jitter / tilt, turn_jitter / spin)):
                new_boxes[name, box.time_index] = box
    return replace(scene, boxes=tuple(new_boxes.get((b.track_id, b.time_index), b) for b in scene.boxes))


def smooth_cameras(scene: SceneData, *, acceleration: float = 0.5, spin: float = 3.0) -> SceneData:
    """Smooth the path of every camera, for pose errors that are independent from image to image.

    The size of the errors is estimated from the path (`scatter`): exact poses of a smooth drive stay, and poses with
    errors of decimeters move by as much. Road bumps that shake a camera count as errors, so do not smooth poses from a
    bundle adjustment.

    Args:
        scene: the log.
        acceleration: root mean square acceleration over one second, m/s^2.
        spin: root mean square change of the turn rate over one second, degrees/s^2.

    Raises:
        ValueError: a setting is not positive.
    """
    if min(acceleration, spin) <= 0:
        raise ValueError(f"{acceleration=}, {spin=} must be positive.")
    poses = {}
    for camera in scene.cameras:
        frames = sorted((f for f in scene.frames if f.camera == camera), key=lambda f: f.time)
        poses |= dict(zip(map(id, frames), _smooth_path(frames, acceleration, spin), strict=True))
    return replace(scene, frames=tuple(replace(f, world_from_camera=poses[id(f)]) for f in scene.frames))


def scatter(values: Float[Array, "T d"], times: Float[Array, "T"]) -> float:
    """Estimate the standard error of measured values from the third differences of any 4 in a row.

    0 for fewer than 4 values.
    """
    if len(times) < 4:
        return 0.0
    window = np.stack([times[i : len(times) - 3 + i] for i in range(4)])
    gaps = window[:, None] - window[None] + np.eye(4)[..., None]
    weights = 1 / gaps.prod(1)  # of the third divided difference
    weights /= np.linalg.norm(weights, axis=0)
    residual = sum(w[:, None] * values[i : len(times) - 3 + i] for i, w in enumerate(weights))
    return float(np.sqrt(np.mean(residual**2)))


def smooth_values(values: Float[Array, "T d"], times: Float[Array, "T"], ratio: float) -> Float[Array, "T d"]:
    """Minimize sum |x - value|^2 + ratio^2 integral |x''|^2 over x, with second differences on uneven times.

    Args:
        values: measured values.
        times: seconds, increasing, 3 or more.
        ratio: standard error of a value over that of its acceleration, seconds^2.
    """
    before, after = np.diff(times)[:-1], np.diff(times)[1:]
    mean = (before + after) / 2
    rows = np.arange(len(times) - 2)
    second = sparse.lil_matrix((len(times) - 2, len(times)))
    second[rows, rows] = 1 / (before * mean)
    second[rows, rows + 1] = -(1 / before + 1 / after) / mean
    second[rows, rows + 2] = 1 / (after * mean)
    weighted = sparse.diags(np.sqrt(mean)) @ second.tocsr()
    system = sparse.eye(len(times)) + ratio**2 * (weighted.T @ weighted)
    return np.asarray(spsolve(system.tocsc(), values)).reshape(values.shape)


def _smooth_boxes(
    boxes: tuple[Box, ...], times: Float[Array, "T"], ratio: float, turn_ratios: tuple[float, float]
) -> list[Box]:
    """Smooth the poses of a track; `turn_ratios` belong to roll and pitch, and to yaw."""
    poses = np.stack([box.world_from_object for box in boxes])
    center, vectors = _about_mean(poses)
    parts = zip((vectors[:, :2], vectors[:, 2:]), turn_ratios, strict=True)
    turns = np.concatenate([smooth_values(part, times, turn_ratio) for part, turn_ratio in parts], 1)
    poses = _make_poses(smooth_values(poses[:, :3, 3], times, ratio), center, turns)
    return [replace(box, world_from_object=pose) for box, pose in zip(boxes, poses, strict=True)]


def _smooth_path(frames: list[Frame], acceleration: float, spin: float) -> Float[Array, "T 4 4"]:
    poses, times = np.stack([f.world_from_camera for f in frames]).astype(float), np.array([f.time for f in frames])
    if len(times) < 4:
        return poses
    center, vectors = _about_mean(poses)
    ratios = scatter(poses[:, :3, 3], times) / acceleration, scatter(vectors, times) / np.deg2rad(spin)
    positions, turns = (
        smooth_values(x, times, ratio) for x, ratio in zip((poses[:, :3, 3], vectors), ratios, strict=True)
    )
    return _make_poses(positions, center, turns)


def _about_mean(poses: Float[Array, "T 4 4"]) -> tuple[Rotation, Float[Array, "T 3"]]:
    """Split rotations into their mean and rotation vectors relative to it.

    Within a right angle of the mean the vectors are nearly additive and continuous.
    """
    rotations = Rotation.from_matrix(poses[:, :3, :3])
    center = rotations.mean()
    return center, (center.inv() * rotations).as_rotvec()


def _make_poses(
    positions: Float[Array, "T 3"], center: Rotation, vectors: Float[Array, "T 3"]
) -> Float[Array, "T 4 4"]:
    poses = np.tile(np.eye(4), (len(positions), 1, 1))
    poses[:, :3, :3] = (center * Rotation.from_rotvec(vectors)).as_matrix()
    poses[:, :3, 3] = positions
    return poses
