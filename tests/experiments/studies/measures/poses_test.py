"""Errors of camera poses do not change with a common rigid motion, and refined poses are measured."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from experiments.studies.measures.poses import perturb_poses, pose_errors, refinement_errors
from ff_jax.data.lazy_arrays import Source
from ff_jax.data.scene_data import Frame, SceneData
from tests.random_inputs import seeded_rng
from tests.scenes import scene_from_points

pytestmark = pytest.mark.slow


def poses_along_a_street(rng, count=12):
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, 3] = np.stack([np.arange(count) * 1.1, 0.02 * np.arange(count) ** 2, np.zeros(count)], -1)
    poses[:, :3, :3] = Rotation.from_rotvec(rng.normal(0, 0.1, (count, 3))).as_matrix()
    return poses


def disturbed(poses, rng, meters, degrees):
    motion = np.tile(np.eye(4), (len(poses), 1, 1))
    motion[:, :3, :3] = Rotation.from_rotvec(rng.normal(0, np.deg2rad(degrees) / 3**0.5, (len(poses), 3))).as_matrix()
    motion[:, :3, 3] = rng.normal(0, meters / 3**0.5, (len(poses), 3))
    return poses @ motion


def test_a_motion_of_all_cameras_is_no_error():
    rng = seeded_rng()
    truth, whole = poses_along_a_street(rng), np.eye(4)
    whole[:3, :3], whole[:3, 3] = Rotation.from_rotvec(rng.normal(0, 0.2, 3)).as_matrix(), rng.normal(0, 3, 3)
    meters, degrees = pose_errors(whole @ truth, truth)
    assert meters < 1e-6 and degrees < 1e-6


def test_a_change_of_scale_is_an_error_unless_the_scale_is_aligned():
    rng = seeded_rng()
    truth, grown = poses_along_a_street(rng), poses_along_a_street(rng)
    grown[:, :3, :3], grown[:, :3, 3] = truth[:, :3, :3], 1.01 * truth[:, :3, 3] + rng.normal(0, 3, 3)
    off = truth[:, :3, 3] - truth[:, :3, 3].mean(0)
    assert abs(pose_errors(grown, truth)[0] / (0.01 * np.sqrt((off**2).sum(-1).mean())) - 1) < 0.1
    assert pose_errors(grown, truth, use_scale=True)[0] < 1e-6


def test_errors_equal_the_perturbation_up_to_a_common_motion():
    rng = seeded_rng()
    truth = poses_along_a_street(rng, 200)
    meters, degrees = pose_errors(disturbed(truth, rng, 0.2, 2.0), truth)
    np.testing.assert_allclose([meters, degrees], [0.2, 2.0], rtol=0.2)


def log_of(poses):
    image = Source("none", lambda: None)
    frame = lambda i, pose: Frame("front", i, 0.1 * i, np.eye(3), pose, 8, 8, image, exposure_id=i)
    frames = tuple(frame(i, pose) for i, pose in enumerate(poses))
    return SceneData("street", "made in a test", "none", 0.1 * np.arange(len(poses)), poses, frames)


def scene_with(poses, count=12):
    """Make a scene with these corrections of poses."""
    sizes = {"capacity": 1, "sh_degree": 0, "exposures": count, "frames": count}
    scene = scene_from_points(np.zeros((1, 3)), np.zeros((1, 3)), 1.0, **sizes)
    return scene.replace(params=scene.params.replace(poses=jnp.asarray(poses, jnp.float32)))


def test_corrections_that_undo_the_perturbation_leave_no_error():
    rng = seeded_rng()
    truth = log_of(poses_along_a_street(rng))
    wrong = perturb_poses(truth, 0.2, 2.0, rng)
    pairs = zip(truth.frames, wrong.frames, strict=True)
    back = [np.linalg.inv(a.world_from_camera) @ b.world_from_camera for a, b in pairs]
    turns = np.stack([Rotation.from_matrix(b[:3, :3]).as_rotvec() for b in back])
    scene = scene_with(np.concatenate([turns, np.stack([b[:3, 3] for b in back])], 1))
    errors = refinement_errors(scene, wrong, wrong, truth)
    assert 0.08 < errors["meters_before"] < 0.35 and 0.8 < errors["degrees_before"] < 3.5
    assert errors["meters_after"] < 1e-4 and errors["degrees_after"] < 1e-3
