"""Cameras of several image sizes train together: the rigs of Waymo and Argoverse 2, and COLMAP's undistorter."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from PIL import Image

from ff_jax.data.folder import write_folder
from ff_jax.data.lazy_arrays import ImageFile
from ff_jax.data.open import open_log
from ff_jax.data.scene_data import OPENCV_FROM_EGO, Frame, SceneData
from ff_jax.pipeline.initialize import initialize, make_recording
from ff_jax.pipeline.phases import Phase, run_phase
from ff_jax.train import loop
from ff_jax.train.batches import TrainBatches
from tests.ff_jax.viewer.tiny_run import CONFIG

pytestmark = pytest.mark.slow

SHORT, LONG = (36, 1), (198, 2)  # training steps, and the scale of the images
# Sizes as published, divided by 40; degrees of yaw, to the left.
WAYMO = {"front": (48, 32, 0), "front_left": (48, 32, 45), "front_right": (48, 32, -45)}
WAYMO |= {"side_left": (48, 22, 90), "side_right": (48, 22, -90)}
ARGOVERSE = {"ring_front_center": (39, 51, 0)}
ARGOVERSE |= {f"ring_{i}": (51, 39, 360 * i / 7) for i in range(1, 7)}
UNDISTORTED = {"camera": tuple((46 + i, 30 + (2 * i) % 5, 3 * i) for i in range(7))}  # each image has its own


def pose_of(step, yaw):
    matrix, angle = np.eye(4), np.deg2rad(yaw)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[0, 3] = 0.5 * step
    return matrix @ np.linalg.inv(OPENCV_FROM_EGO)


def make_rig(folder, sizes, steps, scale):
    """Write a log whose images show the direction of view as a color, so that all of them agree."""
    folder.mkdir()
    frames, poses = [], np.tile(np.eye(4), (steps, 1, 1))
    poses[:, 0, 3] = 0.5 * np.arange(steps)
    for step in range(steps):
        for camera, shape in sizes.items():
            width, height, yaw = shape if isinstance(shape[0], int) else shape[step]
            width, height, focal = scale * width, scale * height, 40.0 * scale
            K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
            pose = pose_of(step, yaw)
            y, x = np.indices((height, width)) + 0.5
            rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(K).T @ pose[:3, :3].T
            rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
            path = folder / f"{camera}_{step}.png"
            Image.fromarray(np.uint8(127 + 120 * np.sin(3 * rays))).save(path)
            image = ImageFile(path)
            frames.append(Frame(camera, step, 0.1 * step, K, pose, width, height, image, exposure_id=len(frames)))
    return SceneData("rig", "a test", "none", 0.1 * np.arange(steps), poses, tuple(frames))


@pytest.mark.parametrize("length", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)], ids=["short", "long"])
@pytest.mark.parametrize(
    ("sizes", "steps"), [(WAYMO, 2), (ARGOVERSE, 1), (UNDISTORTED, 7)], ids=["waymo", "argoverse", "undistorted"]
)
def test_a_rig_of_several_sizes_trains_with_one_program(tmp_path, sizes, steps, length):
    num_steps, scale = length
    path = write_folder(make_rig(tmp_path / "images", sizes, steps, scale), tmp_path / "log")
    data = dataclasses.replace(CONFIG.data, source=str(path), width=0)
    config = dataclasses.replace(CONFIG, data=data, steps=num_steps + 60, check_every=6, save_every=num_steps)
    log = open_log(config.data)
    assert len({(frame.width, frame.height) for frame in log.frames}) > 1
    batches = TrainBatches(make_recording(log, config))
    state, plan = initialize(batches.recording, config, pseudo_views=0, steps=num_steps)
    loop._cached_train_step.cache_clear()
    state, plan = run_phase(Phase(tmp_path / "run", "rig", num_steps), state, plan, batches, config)
    train_step = loop._cached_train_step(loop.without_density_schedule(plan.recon), plan.settings)
    assert train_step.gradient._cache_size() == 1
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < (0.8 if length == SHORT else 0.5) * lines[0]["loss"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.train.scene.params))
