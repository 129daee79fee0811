"""The content of pairs; the reconstruction is replaced by a stub."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.scene_data import Frame, LidarSweep, SceneData
from ff_jax.data.synthetic import StreetConfig
from ff_jax.eig.scene_posterior import EigRender
from ff_jax.pipeline import street_pairs
from ff_jax.pipeline.config import DataConfig, FuseConfig
from ff_jax.pipeline.street_plans import StreetPlan, log_plan
from ff_jax.render.renderer import RenderSettings
from ff_jax.train.loop import TrainPlan
from tests.random_inputs import seeded_rng

CONFIG = FuseConfig(data=DataConfig(width=4, height=3, frames=36, use_lidar=False))


def fake_street_log(seed, street, width, height, test_shifts):
    """Make a log whose colors encode time, shift and seed."""
    pose = np.eye(4)

    def frame(time, shift):
        image = np.full((height, width, 3), [time / 255, (100 + 10 * shift) / 255, seed / 255], np.float32)
        source = Source(f"{time}/{shift}", lambda: image)
        exposure = {"exposure_id": 0, "split": "test" if shift else "train"}
        K = np.array([[width, 0.0, width / 2], [0.0, width, height / 2], [0.0, 0.0, 1.0]])
        return Frame("front", time, 0.1 * time, K, pose, width, height, source, **exposure)

    shifts = [0.0, *(shift for shift in test_shifts if shift != 0)]
    frames = tuple(frame(time, shift) for shift in shifts for time in range(street.num_frames))
    sweeps = tuple(LidarSweep(time, pose, Source(f"lidar/{time}", lambda: None)) for time in range(street.num_frames))
    times = 0.1 * np.arange(street.num_frames)
    poses = np.tile(pose, (street.num_frames, 1, 1))
    return SceneData("fake", "fake", "none", times, poses, frames, sweeps=sweeps, boxes=(), lanes=())


def test_pairs_hold_the_views_of_the_plan_with_their_truth(monkeypatch):
    started, stops, rendered = [], [], []
    monkeypatch.setattr(street_pairs, "street_log", fake_street_log)

    def initialize(recording, config, *, pseudo_views, steps):
        started.append((recording, pseudo_views, steps))
        return 0, TrainPlan(config.recon, RenderSettings(capacity=5), 1.0, steps)

    def train(state, stop, plan, batches):
        stops.append((stop, plan.settings.capacity))
        return stop, plan

    def render(state, plan, batches, frames, config):
        rendered.append([(frame.time_index, frame.split) for frame in frames])
        images = np.full((len(frames), 3, 4, 3), state % 251, np.uint8)
        plane = np.full((len(frames), 3, 4), state, np.float16)
        separate = np.zeros((len(frames), 2, 3, 4, 4), np.uint8)
        return {"render": images, "separate": separate, "eig": plane, "depth": plane}

    for name, stub in (("initialize", initialize), ("train", train), ("_render", render)):
        monkeypatch.setattr(street_pairs, name, stub)
    plan = StreetPlan(4, 2, (30, 70), ((5, 0.0), (9, 2.5), (26, -1.5)))
    pairs = street_pairs.build(CONFIG, 77, plan)
    (recording, pseudo_views, steps), times = started[0], list(range(4, 28, 2))
    assert [frame.time_index for frame in recording.frames] == times
    assert [frame.time_index for frame in recording.log.frames] == times
    assert [sweep.time_index for sweep in recording.log.sweeps] == times
    assert (pseudo_views, steps) == (0, CONFIG.steps)
    # The compiled programs do not depend on the street.
    assert stops == [(stop, street_pairs._CAPACITY) for stop in (30, 70)]
    np.testing.assert_array_equal(pairs.steps, [30] * 3 + [70] * 3)
    np.testing.assert_array_equal(pairs.shift, np.float32([0, 2.5, -1.5] * 2))
    assert pairs.K.shape == (6, 3, 3) and pairs.world_from_camera.shape == (6, 4, 4)
    for half in (slice(0, 3), slice(3, 6)):
        np.testing.assert_array_equal(pairs.truth[half, 0, 0], [[5, 100, 77], [9, 125, 77], [26, 85, 77]])
        np.testing.assert_array_equal(pairs.nearest[half, 2, 3], [[4, 100, 77], [8, 100, 77], [26, 100, 77]])
    np.testing.assert_array_equal(pairs.render[:, 0, 0, 0], [30] * 3 + [70] * 3)
    assert pairs.weight.shape == (6, 3, 4) and (pairs.weight == 255).all()
    assert rendered == [[(5, "train"), (9, "test"), (26, "test")]] * 2


def test_renders_are_stored_in_small_types():
    rgb = seeded_rng().uniform(-0.5, 1.5, (1, 3, 4, 3)).astype(np.float32)
    clip = EigRender(jnp.asarray(rgb), jnp.full((1, 3, 4), 1e-3), jnp.full((1, 3, 4), 1e4))
    stored = street_pairs._stored(clip)
    np.testing.assert_allclose(stored["render"], 255 * np.clip(rgb, 0, 1), atol=0.51)
    assert stored["eig"].dtype == stored["depth"].dtype == np.float16 and stored["depth"].max() == 1e4
    np.testing.assert_allclose(stored["eig"], 1e-3, rtol=1e-3)


def test_clips_of_a_log_are_of_another_camera_or_held_out():
    log = fake_street_log(0, StreetConfig(num_frames=7), 4, 3, ())
    both = (*log.frames, *(dataclasses.replace(frame, camera="right") for frame in log.frames))
    log = dataclasses.replace(log, frames=both)
    recorded, rendered = log_plan(log, ("front",), "right", 3)
    assert [(f.camera, f.time_index) for f in rendered] == [("right", t) for t in range(6)]
    assert {f.camera for f in recorded} == {"front"} and len(recorded) == 7
    recorded, rendered = log_plan(log, ("front", "right"), "right", 3)
    assert [(f.camera, f.time_index) for f in rendered] == [("right", t) for t in (3, 4, 5)]
    assert sorted(f.time_index for f in recorded) == sorted(2 * [0, 1, 2, 6])
    with pytest.raises(ValueError, match="no camera 'rear': expected one of front, right"):
        log_plan(log, ("front",), "rear", 3)
    with pytest.raises(ValueError, match="camera 'front' has 7 frames, too few for clips of 4"):
        log_plan(log, ("front",), "front", 4)
