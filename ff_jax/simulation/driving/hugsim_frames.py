"""Convert states to the conventions of HUGSIM's `info` (hyzhou404/HUGSIM).

Its world has OpenCV axes: x right, y down, z forward. From the local frame: x = -y, y = -z, z = x. Boxes are
[x, y, z, width, length, height, yaw] in IMU axes (x forward, y left, z up), which are those of the local frame.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from ff_jax.simulation.cameras import RigCamera
from ff_jax.simulation.driving.traffic import HEIGHT, LENGTH, WIDTH, Placed

HUGSIM_FROM_LOCAL = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])

Array = np.ndarray


def position(local_from_rig: Float[Array, "4 4"]) -> Float[Array, "3"]:
    """Return the position of a vehicle in HUGSIM's world, meters."""
    return HUGSIM_FROM_LOCAL[:3, :3] @ local_from_rig[:3, 3]


def box_row(box: Placed) -> Float[Array, "7"]:
    """Return the row of a box."""
    pose, (length, width, height) = box
    return np.array([*pose[:3, 3], width, length, height, np.arctan2(pose[1, 0], pose[0, 0])])


def ego_box(x: float, y: float, ground: float, yaw: float) -> Float[Array, "7"]:
    """Return the row of the vehicle, whose box stands on the ground."""
    return np.array([x, y, ground + HEIGHT / 2, WIDTH, LENGTH, HEIGHT, yaw])


def camera_params(cameras: Mapping[str, RigCamera]) -> dict[str, dict]:
    """Return the lens of every camera, and the matrix from the vehicle to the camera ("v2c"), both with their axes."""
    found = {}
    for name, camera in cameras.items():
        K, width, height, _ = camera.intrinsics
        fov = {"fovx": 2 * np.arctan(width / (2 * K[0, 0])), "fovy": 2 * np.arctan(height / (2 * K[1, 1]))}
        lens = {"H": height, "W": width, "cx": float(K[0, 2]), "cy": float(K[1, 2])}
        lens |= {key: float(value) for key, value in fov.items()}
        found[name] = {"intrinsic": lens, "v2c": np.linalg.inv(camera.rig_from_camera)}
    return found
