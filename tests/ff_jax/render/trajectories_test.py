"""Lateral shifts, tilts, lane changes and interpolated poses."""

import numpy as np
from scipy.spatial.transform import Rotation

from ff_jax.data.scene_data import ego_from_front_camera
from ff_jax.render.trajectories import interpolate_poses, lane_change, shift_laterally, tilt_upwards
from tests.random_inputs import seeded_rng


def random_pose(rng):
    pose = np.eye(4)
    pose[:3, :3] = Rotation.random(rng=rng).as_matrix()
    pose[:3, 3] = rng.normal(size=3)
    return pose


def test_shift_goes_left_of_travel_in_any_world():
    rng = seeded_rng()
    camera = random_pose(rng)  # a front camera, somewhere
    moved = shift_laterally(camera, ego_from_front_camera(camera), 2.0)
    in_camera = np.linalg.inv(camera) @ moved
    np.testing.assert_allclose(in_camera, [[1, 0, 0, -2], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], atol=1e-12)


def test_lane_change_starts_and_ends_at_rest():
    shifts = lane_change(101, 3.5)
    assert shifts[0] == 0 and shifts[-1] == 3.5 and np.all(np.diff(shifts) >= 0)
    assert np.isclose(shifts[50], 1.75) and np.diff(shifts).max() < 0.15


def test_interpolated_poses_are_rigid_and_pass_through_the_knots():
    rng = seeded_rng()
    poses = np.stack([random_pose(rng) for _ in range(4)])
    fine = interpolate_poses(poses, 3 * 5 + 1)
    np.testing.assert_allclose(fine[::5], poses, atol=1e-9)
    products = fine[:, :3, :3] @ fine[:, :3, :3].swapaxes(1, 2)
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(3), (16, 3, 3)), atol=1e-9)


def test_a_tilted_camera_points_up_from_the_same_position():
    pose = random_pose(seeded_rng())
    tilted = tilt_upwards(pose, 0.3)
    np.testing.assert_array_equal(tilted[:3, 3], pose[:3, 3])
    np.testing.assert_allclose(tilted[:3, 0], pose[:3, 0], atol=1e-12)
    np.testing.assert_allclose(tilted[:3, 2] @ -pose[:3, 1], np.sin(0.3), atol=1e-6)  # camera y points down
