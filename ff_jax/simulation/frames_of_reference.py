"""Convert between the frames of a simulator and those of a log.

local   the simulator's frame of a scene: inertial, z up, meters. It is the world of the log, turned upright if needed.
rig     the vehicle: x forward, y left, z up. It is the ego frame of the log, whose origin depends on the data set; the
        contract puts it on the ground below the middle of the rear axle.
object  the box of a tracked object: x forward, y left, z up, origin in its center. As in the log.
camera  OpenCV axes: x right, y down, z forward. As in the log.

A pose "B in A" is active: the matrix A_from_B. `sensor_pose` is local_from_camera, the pose of a dynamic object
local_from_object, and `rig_to_camera`, despite its name, rig_from_camera. Times are microseconds; that of a log starts
at 0.
"""

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from ff_jax.simulation.errors import RequestError
from ff_jax.simulation.messages import message

UPRIGHT = np.deg2rad(20.0)  # a world whose z axis is this close to the vehicle's is upright: roads may be steep
MAX_POSITION = 1e6  # meters from the origin
MAX_LENGTH_ERROR = 1e-2  # of a quaternion

Array = np.ndarray


def to_matrix(pose: Any, what: str) -> Float[Array, "4 4"]:
    """Convert a `Pose` message to a rigid matrix.

    Args:
        pose: the message.
        what: its name, for errors.

    Raises:
        RequestError: a number is not finite, the position is out of range, or the quaternion has not length 1.
    """
    position = np.array([pose.vec.x, pose.vec.y, pose.vec.z], np.float64)
    quat = np.array([pose.quat.w, pose.quat.x, pose.quat.y, pose.quat.z], np.float64)
    if not np.isfinite(position).all() or np.abs(position).max() > MAX_POSITION:
        raise RequestError(f"invalid {what}: position {_text(position)}, expected at most {MAX_POSITION:g} m per axis.")
    length = float(np.linalg.norm(quat))
    if not abs(length - 1) <= MAX_LENGTH_ERROR:  # true for NaN
        raise RequestError(f"invalid {what}: quaternion (w, x, y, z) = {_text(quat)}, expected one of length 1.")
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(quat / length, scalar_first=True).as_matrix()
    matrix[:3, 3] = position
    return matrix


def _text(values: Float[Array, "n"]) -> str:
    return f"({', '.join(f'{value:.6g}' for value in values)})"


def to_pose(matrix: Float[Array, "4 4"]) -> Any:
    """Convert a rigid matrix to a `Pose` message; w of its quaternion is not negative."""
    w, x, y, z = Rotation.from_matrix(matrix[:3, :3]).as_quat(canonical=True, scalar_first=True).tolist()
    px, py, pz = matrix[:3, 3].tolist()
    vec, quat = message("Vec3", "common")(x=px, y=py, z=pz), message("Quat", "common")(w=w, x=x, y=y, z=z)
    return message("Pose", "common")(vec=vec, quat=quat)


def upright(world_from_ego: Float[Array, "T 4 4"]) -> Float[Array, "4 4"]:
    """Return local_from_world: the smallest rotation that turns the mean up axis of the vehicle to +z.

    It is the identity if the world is upright already: if that angle is below `UPRIGHT`.
    """
    up = world_from_ego[:, :3, 2].mean(0)
    up = up / np.linalg.norm(up)
    angle = float(np.arccos(np.clip(up[2], -1, 1)))
    axis = np.cross(up, [0.0, 0.0, 1.0])
    if np.linalg.norm(axis) < 1e-9:  # upside down: any horizontal axis will do
        axis = np.array([1.0, 0.0, 0.0])
    matrix = np.eye(4)
    if angle > UPRIGHT:
        matrix[:3, :3] = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix()
    return matrix


def mean_pose(poses: Float[Array, "T 4 4"]) -> Float[Array, "4 4"]:
    """Average rigid matrices: the mean rotation and the mean position."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_matrix(poses[:, :3, :3]).mean().as_matrix()
    matrix[:3, 3] = poses[:, :3, 3].mean(0)
    return matrix


def to_microseconds(seconds: float) -> int:
    """Convert seconds from the start of a log to whole microseconds, at least 0."""
    return max(round(1e6 * seconds), 0)
