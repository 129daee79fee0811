"""What pairs are made of; the reconstruction itself is replaced."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.scene_data import Frame, SceneData, Sweep
from ff_jax.data.synthetic import WorldConfig
from ff_jax.eig.scene_posterior import Clip
from ff_jax.pipeline import street_pairs
from ff_jax.pipeline.config import DataConfig, FuseConfig
from ff_jax.pipeline.street_plans import Plan, log_plan

CONFIG = FuseConfig(data=DataConfig(width=4, height=3, frames=36, use_lidar=False))


def fake_world(seed, world, width, height, test_shifts):
    """Return a log whose images tell time and shift by their colour."""
    pose = np.eye(4)

    def frame(time, shift):
        image = np.full((height, width, 3), [time / 255, (100 + 10 * shift) / 255, seed / 255], np.float32)
        source = Source(f"{time}/{shift}", lambda: image)
        exposure = {"exposure_id": 0, "split": "test" if shift else "train"}
        return Frame("front", time, 0.1 * time, np.eye(3), pose, width, height, source, **exposure)

    shifts = [0.0, *(shift for shift in test_shifts if shift != 0)]
    frames = tuple(frame(time, shift) for shift in shifts for time in range(world.num_frames))
    sweeps = tuple(Sweep(time, pose, Source(f"lidar/{time}", lambda: None)) for time in range(world.num_frames))
    times = 0.1 * np.arange(world.num_frames)
    poses = np.tile(pose, (world.num_frames, 1, 1))
    return SceneData("fake", "fake", "none", times, poses, frames, sweeps=sweeps, boxes=(), lanes=())


@dataclasses.dataclass
class FakeSettings:
    capacity: int = 5


@dataclasses.dataclass
class FakeRecipe:
    settings: FakeSettings


def test_pairs_hold_the_views_of_the_plan_with_their_truth(monkeypatch):
    started, stops, seen = [], [], []
    monkeypatch.setattr(street_pairs, "world_scene", fake_world)

    def start(log, feed, config, *, pool, steps):
        started.append((log, feed, pool, steps))
        return 0, FakeRecipe(FakeSettings())

    def train(run, stop, recipe, feed):
        stops.append((stop, recipe.settings.capacity))
        return stop, recipe

    def render(run, recipe, feed, frames, config):
        seen.append([(frame.time_index, frame.split) for frame in frames])
        images = np.full((len(frames), 3, 4, 3), run % 251, np.uint8)
        plane = np.full((len(frames), 3, 4), run, np.float16)
        return {"render": images, "aligned": images, "eig": plane, "depth": plane}

    for name, stand_in in (("start_run", start), ("train", train), ("_render", render)):
        monkeypatch.setattr(street_pairs, name, stand_in)
    plan = Plan(4, 2, (30, 70), ((5, 0.0), (9, 2.5), (26, -1.5)))
    found = street_pairs.build(CONFIG, 77, plan)
    (log, feed, pool, steps), times = started[0], list(range(4, 28, 2))
    assert [frame.time_index for frame in feed.frames] == [frame.time_index for frame in log.frames] == times
    assert [sweep.time_index for sweep in log.sweeps] == times and (pool, steps) == (0, CONFIG.steps)
    # What is compiled in does not depend on the street.
    assert stops == [(stop, street_pairs._CAPACITY) for stop in (30, 70)]
    np.testing.assert_array_equal(found.steps, [30] * 3 + [70] * 3)
    np.testing.assert_array_equal(found.shift, np.float32([0, 2.5, -1.5] * 2))
    assert found.K.shape == (6, 3, 3) and found.world_from_camera.shape == (6, 4, 4)
    for half in (slice(0, 3), slice(3, 6)):
        np.testing.assert_array_equal(found.truth[half, 0, 0], [[5, 100, 77], [9, 125, 77], [26, 85, 77]])
        np.testing.assert_array_equal(found.nearest[half, 2, 3], [[4, 100, 77], [8, 100, 77], [26, 100, 77]])
    np.testing.assert_array_equal(found.render[:, 0, 0, 0], [30] * 3 + [70] * 3)
    assert seen == [[(5, "train"), (9, "test"), (26, "test")]] * 2


def test_what_is_rendered_is_stored_small():
    rgb, aligned = np.random.default_rng().uniform(-0.5, 1.5, (2, 1, 3, 4, 3)).astype(np.float32)
    clip = Clip(jnp.asarray(rgb), jnp.full((1, 3, 4), 1e-3), jnp.full((1, 3, 4), 1e4))
    found = street_pairs._stored(clip, aligned)
    np.testing.assert_allclose(found["render"], 255 * np.clip(rgb, 0, 1), atol=0.51)
    np.testing.assert_allclose(found["aligned"], 255 * np.clip(aligned, 0, 1), atol=0.51)
    assert found["eig"].dtype == found["depth"].dtype == np.float16 and found["depth"].max() == 1e4
    np.testing.assert_allclose(found["eig"], 1e-3, rtol=1e-3)


def test_logs_give_clips_of_another_camera_or_of_what_is_held_out():
    log = fake_world(0, WorldConfig(num_frames=7), 4, 3, ())
    both = (*log.frames, *(dataclasses.replace(frame, camera="right") for frame in log.frames))
    log = dataclasses.replace(log, frames=both)
    recorded, seen = log_plan(log, ("front",), "right", 3)
    assert [(f.camera, f.time_index) for f in seen] == [("right", t) for t in range(6)]
    assert {f.camera for f in recorded} == {"front"} and len(recorded) == 7
    recorded, seen = log_plan(log, ("front", "right"), "right", 3)
    assert [(f.camera, f.time_index) for f in seen] == [("right", t) for t in (3, 4, 5)]
    assert sorted(f.time_index for f in recorded) == sorted(2 * [0, 1, 2, 6])
    with pytest.raises(ValueError, match="no camera 'rear'; it has front, right"):
        log_plan(log, ("front",), "rear", 3)
    with pytest.raises(ValueError, match="camera 'front' has 7 frames, too few for clips of 4"):
        log_plan(log, ("front",), "front", 4)
