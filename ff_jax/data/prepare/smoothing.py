"""Smooth tracks and camera paths: measured poses jitter from one time to the next, what they stand for does not."""

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
    """Return the log with the boxes of what moves on smooth paths; times and sizes stay.

    Every path is the most probable one if a box errs by `jitter` and velocity drifts like white acceleration noise
    (a cubic smoothing spline, Whittaker 1923, with the physical units of both).

    Args:
        scene: the log.
        jitter: standard error of a box's position per axis, metres.
        acceleration: root mean square acceleration over one second, m/s^2.
        turn_jitter: standard error of a box's rotation about each axis, degrees.
        spin: root mean square change of the yaw rate over one second, degrees/s^2.
        tilt: the same of roll and pitch (about x and y of the box): what stands on the ground follows its slope.

    Raises:
        ValueError: a setting is not positive.
    """
    if min(jitter, acceleration, turn_jitter, spin, tilt) <= 0:
        raise ValueError(f"{jitter=}, {acceleration=}, {turn_jitter=}, {spin=}, {tilt=} must be positive.")
    moving, smoothed = moving_tracks(scene), {}
    for name, boxes in tracks(scene).items():
        if name in moving and len(boxes) > 2:
            times = scene.times[[box.time_index for box in boxes]]
            for box in _smoothed(boxes, times, jitter / acceleration, (turn_jitter / tilt, turn_jitter / spin)):
                smoothed[name, box.time_index] = box
    found = tuple(smoothed.get((box.track_id, box.time_index), box) for box in scene.boxes)
    return replace(scene, boxes=found)


def smooth_cameras(scene: SceneData, *, acceleration: float = 0.5, spin: float = 3.0) -> SceneData:
    """Return the log with every camera on a smooth path, for poses that err independently from image to image.

    How much they err is estimated from the path itself (`scatter`), so exact poses of a smooth drive stay and those
    that are off by decimetres move by as much. Road bumps that shake a camera count as errors: poses from a bundle
    adjustment are better left alone.

    Args:
        scene: the log.
        acceleration: root mean square acceleration over one second, m/s^2.
        spin: root mean square change of the turn rate over one second, degrees/s^2.

    Raises:
        ValueError: a setting is not positive.
    """
    if min(acceleration, spin) <= 0:
        raise ValueError(f"{acceleration=}, {spin=} must be positive.")
    moved = {}
    for camera in scene.cameras:
        frames = sorted((f for f in scene.frames if f.camera == camera), key=lambda f: f.time)
        moved |= dict(zip(map(id, frames), _smooth_path(frames, acceleration, spin), strict=True))
    return replace(scene, frames=tuple(replace(f, world_from_camera=moved[id(f)]) for f in scene.frames))


def scatter(values: Float[Array, "T d"], times: Float[Array, "T"]) -> float:
    """Return the standard error of measured values, from how far any 4 in a row are from a parabola over time.

    0 for fewer than 4.
    """
    if len(times) < 4:
        return 0.0
    at = np.stack([times[i : len(times) - 3 + i] for i in range(4)])
    apart = at[:, None] - at[None] + np.eye(4)[..., None]
    weights = 1 / apart.prod(1)  # of the third divided difference
    weights /= np.linalg.norm(weights, axis=0)
    off = sum(w[:, None] * values[i : len(times) - 3 + i] for i, w in enumerate(weights))
    return float(np.sqrt(np.mean(off**2)))


def smoothed_values(values: Float[Array, "T d"], times: Float[Array, "T"], ratio: float) -> Float[Array, "T d"]:
    """Return the values of least sum |x - value|^2 + ratio^2 integral |x''|^2, second differences on uneven times.

    Args:
        values: measured.
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
    return spsolve(system.tocsc(), values).reshape(values.shape)


def _smoothed(
    boxes: tuple[Box, ...], times: Float[Array, "T"], ratio: float, turn_ratios: tuple[float, float]
) -> list[Box]:
    """Return the boxes on a smooth path; `turn_ratios` are those of roll and pitch, and of yaw."""
    poses = np.stack([box.world_from_object for box in boxes])
    centre, vectors = _about_mean(poses)
    parts = zip((vectors[:, :2], vectors[:, 2:]), turn_ratios, strict=True)
    turns = np.concatenate([smoothed_values(part, times, turn_ratio) for part, turn_ratio in parts], 1)
    poses = _posed(smoothed_values(poses[:, :3, 3], times, ratio), centre, turns)
    return [replace(box, world_from_object=pose) for box, pose in zip(boxes, poses, strict=True)]


def _smooth_path(frames: list[Frame], acceleration: float, spin: float) -> Float[Array, "T 4 4"]:
    poses, times = np.stack([f.world_from_camera for f in frames]).astype(float), np.array([f.time for f in frames])
    if len(times) < 4:
        return poses
    centre, vectors = _about_mean(poses)
    ratios = scatter(poses[:, :3, 3], times) / acceleration, scatter(vectors, times) / np.deg2rad(spin)
    places, turns = (
        smoothed_values(x, times, ratio) for x, ratio in zip((poses[:, :3, 3], vectors), ratios, strict=True)
    )
    return _posed(places, centre, turns)


def _about_mean(poses: Float[Array, "T 4 4"]) -> tuple[Rotation, Float[Array, "T 3"]]:
    """Return the mean rotation and rotation vectors from it.

    They are additive enough within a right angle of it, and cannot jump.
    """
    rotations = Rotation.from_matrix(poses[:, :3, :3])
    centre = rotations.mean()
    return centre, (centre.inv() * rotations).as_rotvec()


def _posed(places: Float[Array, "T 3"], centre: Rotation, vectors: Float[Array, "T 3"]) -> Float[Array, "T 4 4"]:
    poses = np.tile(np.eye(4), (len(places), 1, 1))
    poses[:, :3, :3] = (centre * Rotation.from_rotvec(vectors)).as_matrix()
    poses[:, :3, 3] = places
    return poses
