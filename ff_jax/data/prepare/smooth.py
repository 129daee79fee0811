"""Smooth tracks: boxes jitter from one time to the next, what they stand for does not."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy import sparse
from scipy.sparse.linalg import spsolve
from scipy.spatial.transform import Rotation

from ff_jax.data.contract import Box, SceneData, moving_tracks, tracks

Array = np.ndarray


def smooth_tracks(
    scene: SceneData, *, jitter: float = 0.1, acceleration: float = 2.0, turn_jitter: float = 1.0, spin: float = 20.0
) -> SceneData:
    """Return the log with the boxes of what moves on smooth paths; times and sizes stay.

    Every path is the most probable one if a box errs by `jitter` and velocity drifts like white acceleration noise
    (a cubic smoothing spline, Whittaker 1923, with the physical units of both).

    Args:
        scene: the log.
        jitter: standard error of a box's position per axis, metres.
        acceleration: root mean square acceleration over one second, m/s^2.
        turn_jitter: standard error of a box's rotation about each axis, degrees.
        spin: root mean square change of the turn rate over one second, degrees/s^2.

    Raises:
        ValueError: a setting is not positive.
    """
    if min(jitter, acceleration, turn_jitter, spin) <= 0:
        raise ValueError(f"{jitter=}, {acceleration=}, {turn_jitter=}, {spin=} must be positive.")
    moving, smoothed = moving_tracks(scene), {}
    for name, boxes in tracks(scene).items():
        if name in moving and len(boxes) > 2:
            times = scene.times[[box.time_index for box in boxes]]
            for box in _smoothed(boxes, times, jitter / acceleration, turn_jitter / spin):
                smoothed[name, box.time_index] = box
    found = tuple(smoothed.get((box.track_id, box.time_index), box) for box in scene.boxes)
    return replace(scene, boxes=found)


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


def _smoothed(boxes: tuple[Box, ...], times: Float[Array, "T"], ratio: float, turn_ratio: float) -> list[Box]:
    poses = np.stack([box.world_from_object for box in boxes])
    rotations = Rotation.from_matrix(poses[:, :3, :3])
    centre = rotations.mean()
    # About their mean: rotation vectors are additive enough within a right angle of it, and cannot jump.
    vectors = smoothed_values((centre.inv() * rotations).as_rotvec(), times, turn_ratio)
    poses[:, :3, :3] = (centre * Rotation.from_rotvec(vectors)).as_matrix()
    poses[:, :3, 3] = smoothed_values(poses[:, :3, 3], times, ratio)
    return [replace(box, world_from_object=pose) for box, pose in zip(boxes, poses, strict=True)]
