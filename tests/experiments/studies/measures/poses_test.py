"""The study of wrong cameras: errors that a common rigid motion does not change, and camera poses that are found."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from experiments.studies.measures.poses import jittered, pose_errors, recovered
from ff_jax.data.lazy_arrays import Source
from ff_jax.data.scene_data import Frame, SceneData
from ff_jax.scene import init_scene
from ff_jax.train.loop import Run
from ff_jax.train.pseudo_views import init_pool
from ff_jax.train.state import OptimConfig, Pace, init_state, make_optimizer


def poses_along_a_street(rng, count=12):
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, 3] = np.stack([np.arange(count) * 1.1, 0.02 * np.arange(count) ** 2, np.zeros(count)], -1)
    poses[:, :3, :3] = Rotation.from_rotvec(rng.normal(0, 0.1, (count, 3))).as_matrix()
    return poses


def disturbed(poses, rng, metres, degrees):
    motion = np.tile(np.eye(4), (len(poses), 1, 1))
    motion[:, :3, :3] = Rotation.from_rotvec(rng.normal(0, np.deg2rad(degrees) / 3**0.5, (len(poses), 3))).as_matrix()
    motion[:, :3, 3] = rng.normal(0, metres / 3**0.5, (len(poses), 3))
    return poses @ motion


def test_a_motion_of_all_cameras_is_no_error():
    rng = np.random.default_rng()
    truth, whole = poses_along_a_street(rng), np.eye(4)
    whole[:3, :3], whole[:3, 3] = Rotation.from_rotvec(rng.normal(0, 0.2, 3)).as_matrix(), rng.normal(0, 3, 3)
    metres, degrees = pose_errors(whole @ truth, truth)
    assert metres < 1e-6 and degrees < 1e-6


def test_a_change_of_scale_is_an_error_unless_it_is_to_be_none():
    rng = np.random.default_rng()
    truth, grown = poses_along_a_street(rng), poses_along_a_street(rng)
    grown[:, :3, :3], grown[:, :3, 3] = truth[:, :3, :3], 1.01 * truth[:, :3, 3] + rng.normal(0, 3, 3)
    off = truth[:, :3, 3] - truth[:, :3, 3].mean(0)
    assert abs(pose_errors(grown, truth)[0] / (0.01 * np.sqrt((off**2).sum(-1).mean())) - 1) < 0.1
    assert pose_errors(grown, truth, scale=True)[0] < 1e-6


def test_errors_are_those_that_were_put_in_less_what_a_common_motion_takes():
    rng = np.random.default_rng()
    truth = poses_along_a_street(rng, 200)
    metres, degrees = pose_errors(disturbed(truth, rng, 0.2, 2.0), truth)
    np.testing.assert_allclose([metres, degrees], [0.2, 2.0], rtol=0.2)


def log_of(poses):
    image = Source("none", lambda: None)
    frame = lambda i, pose: Frame("front", i, 0.1 * i, np.eye(3), pose, 8, 8, image, exposure_id=i)
    frames = tuple(frame(i, pose) for i, pose in enumerate(poses))
    return SceneData("street", "made in a test", "none", 0.1 * np.arange(len(poses)), poses, frames)


def run_with(poses, count=12):
    """Return an untrained run with these learnt corrections of poses."""
    start = jnp.zeros((1, 3)), jnp.zeros((1, 3)), jnp.ones(1)
    sizes = {"capacity": 1, "sh_degree": 0, "exposures": count, "frames": count, "cameras": 1}
    scene = init_scene(jax.random.key(0), *start, **sizes)
    scene = scene.replace(params=scene.params.replace(poses=jnp.asarray(poses, jnp.float32)))
    return Run(init_state(jax.random.key(1), scene, make_optimizer(OptimConfig(), Pace(1.0, 1))), init_pool(1, 8, 8))


def test_corrections_that_undo_what_was_put_in_leave_no_error():
    rng = np.random.default_rng()
    truth = log_of(poses_along_a_street(rng))
    wrong = jittered(truth, 0.2, 2.0, rng)
    pairs = zip(truth.frames, wrong.frames, strict=True)
    back = [np.linalg.inv(a.world_from_camera) @ b.world_from_camera for a, b in pairs]
    turns = np.stack([Rotation.from_matrix(b[:3, :3]).as_rotvec() for b in back])
    found = recovered(run_with(np.concatenate([turns, np.stack([b[:3, 3] for b in back])], 1)), wrong, wrong, truth)
    assert 0.08 < found["metres_before"] < 0.35 and 0.8 < found["degrees_before"] < 3.5
    assert found["metres_after"] < 1e-4 and found["degrees_after"] < 1e-3
