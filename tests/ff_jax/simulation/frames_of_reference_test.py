"""Frames of reference against quaternion algebra, SciPy, and the readout model of the renderer."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ff_jax.simulation.errors import RequestError
from ff_jax.simulation.frames_of_reference import (
    mean_pose,
    to_matrix,
    to_microseconds,
    to_pose,
    upright,
)
from ff_jax.simulation.messages import message
from tests.random_inputs import seeded_rng


def pose_message(vec, quat):
    names = ("w", "x", "y", "z")
    return message("Pose", "common")(
        vec=dict(zip("xyz", map(float, vec), strict=True)), quat=dict(zip(names, map(float, quat), strict=True))
    )


def rigid(rng, angle=3.0):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rng.uniform(-1, 1, 3) * angle / np.sqrt(3)).as_matrix()
    matrix[:3, 3] = rng.normal(size=3) * 10
    return matrix


def hamilton(a, b):
    (w, x, y, z), (v, i, j, k) = a, b
    return np.array(
        [
            w * v - x * i - y * j - z * k,
            w * i + x * v + y * k - z * j,
            w * j - x * k + y * v + z * i,
            w * k + x * j - y * i + z * v,
        ]
    )


def test_a_pose_moves_points_by_p_plus_q_p_conjugate():
    rng = seeded_rng()
    quat = rng.normal(size=4)
    quat /= np.linalg.norm(quat)
    vec, point = rng.normal(size=3), rng.normal(size=3)
    turned = hamilton(hamilton(quat, np.append(0, point)), quat * [1, -1, -1, -1])
    matrix = to_matrix(pose_message(vec, quat), "pose")
    np.testing.assert_allclose(matrix @ np.append(point, 1), np.append(vec + turned[1:], 1), atol=1e-6)  # float32


def test_the_shipped_camera_quaternion_is_opencv_axes_in_the_rig():
    """The quaternion (-.5, .5, -.5, .5), xyzw, puts z of the camera forward, its x to the right and its y down."""
    matrix = to_matrix(pose_message((0, 0, 0), (0.5, -0.5, 0.5, -0.5)), "pose")
    np.testing.assert_allclose(matrix[:3, :3], [[0, 0, 1], [-1, 0, 0], [0, -1, 0]], atol=1e-12)


def test_poses_survive_the_round_trip():
    matrix = rigid(seeded_rng())
    np.testing.assert_allclose(to_matrix(to_pose(matrix), "pose"), matrix, atol=1e-5)  # the message has float32
    assert to_pose(matrix).quat.w >= 0


@pytest.mark.parametrize(
    ("vec", "quat", "text"),
    [
        ((np.nan, 0, 0), (1, 0, 0, 0), "invalid sensor_pose: position"),
        ((0, 1e9, 0), (1, 0, 0, 0), "at most 1e"),
        ((0, 0, 0), (0, 0, 0, 0), "expected one of length 1"),
        ((0, 0, 0), (np.nan, 0, 0, 1), "expected one of length 1"),
        ((0, 0, 0), (np.inf, 0, 0, 1), "expected one of length 1"),
    ],
)
def test_bad_poses_are_named(vec, quat, text):
    with pytest.raises(RequestError, match=text):
        to_matrix(pose_message(vec, quat), "sensor_pose")


def test_an_upright_world_stays_and_a_tilted_one_is_turned():
    rng = seeded_rng()
    yaw = np.stack([np.eye(4)] * 4)
    yaw[:, :3, :3] = Rotation.from_euler("z", rng.uniform(-3, 3, (4, 1))).as_matrix()
    np.testing.assert_array_equal(upright(yaw), np.eye(4))
    slope = np.eye(4)
    slope[:3, :3] = Rotation.from_euler("y", np.deg2rad(12)).as_matrix()
    np.testing.assert_array_equal(upright(slope @ yaw), np.eye(4))
    y_down = np.eye(4)
    y_down[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
    turned = upright(y_down @ yaw) @ y_down @ yaw
    np.testing.assert_allclose(turned[:, :3, 2], [[0, 0, 1]] * 4, atol=1e-9)
    flipped = np.diag([1.0, -1, -1, 1])
    np.testing.assert_allclose((upright(flipped[None]) @ flipped)[:3, 2], [0, 0, 1], atol=1e-9)


def test_the_mean_of_equal_poses_is_the_pose():
    pose = rigid(seeded_rng())
    np.testing.assert_allclose(mean_pose(np.stack([pose] * 3)), pose, atol=1e-9)


def test_times_are_whole_microseconds():
    assert to_microseconds(0.1) == 100_000 and to_microseconds(-1e-9) == 0
