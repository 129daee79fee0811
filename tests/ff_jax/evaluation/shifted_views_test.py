"""Scores of held-out frames: their exposures, and depth at LiDAR points."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.recording import train_frames
from ff_jax.data.scene_data import Frame, LidarSweep, SceneData, hold_out
from ff_jax.evaluation.shifted_views import (
    SKY,
    RenderArrays,
    by_shift,
    exposure_between,
    growing_targets,
    lateral_offset,
    score,
    targets,
)
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.initialize import background_points, make_recording
from ff_jax.scene.exposure import ExposureBlend
from ff_jax.train.batches import view_of
from tests.ff_jax.data import tiny
from tests.random_inputs import seeded_rng

W, H, F = 60, 40, 50.0
K = np.array([[F, 0, W / 2], [0, F, H / 2], [0, 0, 1]])


def log_of(steps, cameras=("front", "rear"), masks=()):
    """Make a log with random images, and cameras that do not move in front of random points."""
    rng = seeded_rng()
    image = rng.random((H, W, 3)).astype(np.float32)
    times = np.cumsum(rng.uniform(0.05, 0.2, steps))
    frames = tuple(
        Frame(name, t, times[t] + 0.01 * c, K, np.eye(4), W, H, Source("random", lambda: image), masks=dict(masks),
              exposure_id=t * len(cameras) + c)
        for t in range(steps) for c, name in enumerate(cameras)
    )  # fmt: skip
    points = [np.pad(_points(rng), ((0, 0), (0, 1))).astype(np.float32) for _ in range(steps)]
    sweeps = tuple(LidarSweep(t, np.eye(4), Source("points", lambda t=t: points[t])) for t in range(steps))
    ego = np.tile(np.eye(4), (steps, 1, 1))
    return SceneData("made", "made in a test", "none", times, ego, frames, sweeps)


def _points(rng):
    """Draw points of the view in one plane, so that none occludes another."""
    pixels = rng.uniform(-0.9, 0.9, (300, 2)) * (W, H) / 2 / F
    return np.concatenate([pixels, np.ones((300, 1))], 1) * 8.0


def test_exposure_of_a_held_out_frame_is_interpolated_between_its_neighbors():
    log = hold_out(log_of(9), 3)
    recorded = [f for f in log.frames if f.split == "train"]
    for frame in (f for f in log.frames if f.split == "test"):
        own = [f for f in recorded if f.camera == frame.camera]
        before, after, share = exposure_between(frame, log)
        time_of = {f.exposure_id: f.time for f in own}
        blended_time = (1 - share) * time_of[before] + share * time_of[after]
        inner = own[0].time < frame.time < own[-1].time
        expected = frame.time if inner else np.clip(frame.time, own[0].time, own[-1].time)
        assert blended_time == pytest.approx(expected, abs=1e-9) and 0 <= share <= 1
        view = view_of(frame, ExposureBlend(before, after, share))
        assert (int(view.exposure), int(view.exposure_after)) == (before, after)
    target = next(t for t in targets(log, (), 99) if t.frame.time_index == 1)
    assert 0 < float(target.view.share_after) < 1 and target.view.frame == -1


def test_a_camera_without_training_frames_takes_the_exposure_of_the_others():
    log = log_of(4)
    frames = tuple(dataclasses.replace(f, split="test" if f.camera == "rear" else "train") for f in log.frames)
    log = dataclasses.replace(log, frames=frames)
    first, last = log.frames[1], log.frames[-1]
    blend = exposure_between(first, log)
    assert (blend.before, blend.after) == (0, 2) and 0 < blend.share < 0.3
    assert exposure_between(last, log) == ExposureBlend(6, 6, 0.0)


def rig_log(steps=9):
    """Make a log that drives along x in a curve, with side cameras that have errors of poses and own times."""
    rng = seeded_rng()
    ego = np.tile(np.eye(4), (steps, 1, 1))
    for t, angle in enumerate(0.05 * np.arange(steps)):
        ego[t, :2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        ego[t, :2, 3] = t, 0.025 * t**2
    log = log_of(steps, ("front", "left", "right"))
    sides = {"front": 0.0, "left": 0.66, "right": -1.34}
    frames = []
    for f in log.frames:
        place = np.eye(4)
        place[:3, 3] = 0.2 * rng.random(), sides[f.camera] + rng.normal(0, 0.03), 0
        frames.append(dataclasses.replace(f, world_from_camera=ego[f.time_index] @ place))
    return dataclasses.replace(log, frames=tuple(frames), world_from_ego=ego)


def test_held_out_frames_of_side_cameras_are_on_the_recorded_path():
    log = hold_out(rig_log(), 3)
    assert {lateral_offset(f, log) for f in log.frames if f.split == "test"} == {0.0}


def test_frames_of_a_test_camera_or_beside_a_recorded_one_have_their_shift():
    log = rig_log()
    split = {"front": "train", "left": "test", "right": "train"}
    log = dataclasses.replace(log, frames=tuple(dataclasses.replace(f, split=split[f.camera]) for f in log.frames))
    front = log.frames[0]
    beside = front.world_from_camera.copy()
    beside[1, 3] += 0.1
    beside = dataclasses.replace(front, split="test", world_from_camera=beside)
    log = dataclasses.replace(log, frames=(*log.frames, beside))
    assert lateral_offset(beside, log) == 0.1
    assert all(abs(lateral_offset(f, log)) > 0.3 for f in log.frames if f.camera == "left")


def test_depth_is_scored_only_at_valid_pixels():
    rng = seeded_rng()
    valid = np.ones((H, W), np.float32)
    valid[: H // 2] = 0
    log = hold_out(log_of(5, ("front",), {"valid": Source("lower half", lambda: valid)}.items()), 5)
    target = next(t for t in targets(log, (), 9))
    depth = np.full((H, W), 8.5, np.float32)
    depth[: H // 2] = 80.0  # pixels that do not count
    depth[-10:] = SKY
    render = lambda view: RenderArrays(np.zeros((H, W, 3), np.float32), np.ones((H, W), np.float32), depth)
    result = score(render, target, log)
    assert result.depth_mae == pytest.approx(0.5, abs=1e-4) and result.depth_median == pytest.approx(0.5, abs=0.011)
    assert result.depth_rel == pytest.approx(0.5 / 8, abs=1e-5) and 0.2 < result.depth_covered < 0.8
    without_lidar = score(render, target, dataclasses.replace(log, sweeps=()))
    assert np.isnan(without_lidar.depth_mae) and without_lidar.psnr == result.psnr
    other = result._replace(depth_mae=result.depth_mae + float(rng.uniform(1, 2)))
    (row,) = by_shift([result, other, without_lidar])
    assert row.frames == 3 and row.depth_mae == pytest.approx((result.depth_mae + other.depth_mae) / 2)
    (row,) = by_shift([without_lidar])
    assert np.isnan(row.depth_mae) and row.psnr == pytest.approx(without_lidar.psnr)


def test_sweeps_of_held_out_steps_give_no_initial_points():
    log = hold_out(log_of(6), 3)
    test_times = {f.time_index for f in log.frames if f.split == "test"}
    config = dataclasses.replace(FuseConfig(), init=dataclasses.replace(FuseConfig().init, points=9000))
    recording = make_recording(log, config)
    assert recording.frames == train_frames(log)
    assert test_times and {s.time_index for s in recording.sweeps} == set(range(6)) - test_times
    xyz, _ = background_points(recording, config)
    test_points = np.concatenate([s.load_world() for s in log.sweeps if s.time_index in test_times])
    assert jnp.abs(xyz[:, None] - test_points[None]).max(-1).min() > 1e-6


def test_a_growing_path_leaves_the_recorded_one_by_a_step_per_frame(tmp_path):
    log = tiny.make_scene(tmp_path)
    views = growing_targets(log, -0.1)
    assert len(views) == len(log.frames) and {view.shift for view in views} == {-0.2}
    for camera in ("a", "b"):
        own = [view for view in views if view.frame.camera == camera]
        moved = [view.pose[:3, 3] - view.frame.world_from_camera[:3, 3] for view in own]
        np.testing.assert_allclose(moved, [[0, -0.1 * number, 0] for number in range(3)], atol=1e-9)
        assert own[0].view.offset is None
        np.testing.assert_allclose(own[2].view.offset, [0, -0.2, 0], atol=1e-6)
    assert not any(view.has_truth for view in views)


def test_views_beside_the_path_know_their_offset(tmp_path):
    log = tiny.make_scene(tmp_path)
    offsets = {view.shift: view.view.offset for view in targets(log, (0.0, 2.0), 1)}
    assert offsets[0.0] is None
    np.testing.assert_allclose(offsets[2.0], [0, 2.0, 0], atol=1e-6)
