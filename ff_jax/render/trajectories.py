"""Camera paths off the recorded one: lateral shifts, tilts, lane changes and interpolated poses."""

import numpy as np
from jaxtyping import Float


def shift_laterally(
    world_from_camera: Float[np.ndarray, "4 4"],
    world_from_ego: Float[np.ndarray, "4 4"],
    shift: float,
) -> Float[np.ndarray, "4 4"]:
    """Move a camera `shift` meters to the left of travel (along ego +y); negative is to the right."""
    moved = np.array(world_from_camera, np.float64)
    moved[:3, 3] += shift * np.asarray(world_from_ego, np.float64)[:3, 1]
    return moved


def tilt_upwards(world_from_camera: Float[np.ndarray, "4 4"], angle: float) -> Float[np.ndarray, "4 4"]:
    """Rotate a camera upwards about its own x axis by `angle` radians; its position does not change."""
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[1, 0, 0, 0], [0, cos, -sin, 0], [0, sin, cos, 0], [0, 0, 0, 1.0]])
    return np.asarray(world_from_camera, np.float64) @ turn


def lane_change(count: int, width: float, rest: float = 0.2) -> Float[np.ndarray, "count"]:
    """Compute the lateral shifts (meters) of a smooth lane change over `count` frames.

    The shift is constant in the first and in the last share `rest` of the frames. Between them it is a smoothstep of
    degree 5, with zero speed and acceleration at both ends.
    """
    t = np.clip((np.linspace(0.0, 1.0, count) - rest) / (1.0 - 2.0 * rest), 0.0, 1.0)
    return width * t**3 * (t * (6.0 * t - 15.0) + 10.0)


def interpolate_poses(poses: Float[np.ndarray, "T 4 4"], count: int) -> Float[np.ndarray, "count 4 4"]:
    """Resample a rigid path to `count` poses: slerp of rotations, straight lines between positions."""
    from scipy.spatial.transform import Rotation, Slerp

    if len(poses) == 1:
        return np.repeat(np.asarray(poses), count, 0)
    knots, t = np.arange(len(poses)), np.linspace(0, len(poses) - 1, count)
    out = np.tile(np.eye(4), (count, 1, 1))
    out[:, :3, :3] = Slerp(knots, Rotation.from_matrix(poses[:, :3, :3]))(t).as_matrix()
    for axis in range(3):
        out[:, axis, 3] = np.interp(t, knots, poses[:, axis, 3])
    return out
