"""What recorded views say about a scene, camera by camera."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.scene_data import select
from ff_jax.data.synthetic import WorldConfig
from ff_jax.data.synthetic.driving_log import world_scene
from ff_jax.eig.scene_posterior import Clip, Knowledge, noise_by_camera, observe
from ff_jax.fixers import identity
from ff_jax.fixers.fixer import Fixer
from ff_jax.pipeline import fix_event, fuse
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.fix_event import EigConfig, lead_in, paths
from ff_jax.render.renderer import RenderSettings
from ff_jax.scene import Scene, init_scene
from ff_jax.train.batches import Feed
from ff_jax.train.loop import Recipe, Run
from ff_jax.train.pseudo_views import init_pool
from ff_jax.train.shift_schedule import ShiftSchedule
from ff_jax.train.step import ReconConfig

SETTINGS = RenderSettings(capacity=4096)
NOTHING = Knowledge(None, None, None)


def test_noise_belongs_to_the_camera():
    rng = np.random.default_rng()
    cameras = ["front", "left", "front", "left", "left"]
    true = {"front": 0.02, "left": 0.2}
    residuals = [jnp.asarray(rng.normal(0, true[name], 4000), jnp.float32) for name in cameras]
    found = noise_by_camera(residuals, cameras)
    assert list(found) == ["front", "left"]
    for name, value in true.items():
        assert float(found[name]) == pytest.approx(value, rel=0.1)


@pytest.fixture(scope="module")
def log():
    config = WorldConfig(num_frames=2, moving=False)
    return world_scene(1, config, 40, 24, ("front", "front_left"), lidar=False)


def test_cameras_are_observed_as_if_each_were_alone(log):
    rng = np.random.default_rng()
    arrays = (rng.uniform([4, -6, 0], [25, 6, 6], (60, 3)), rng.random((60, 3)), np.full(60, 0.5))
    sizes = {"capacity": 64, "sh_degree": 0, "exposures": 4, "frames": 4, "cameras": 2}
    scene = init_scene(jax.random.key(0), *(jnp.asarray(a, jnp.float32) for a in arrays), **sizes)
    feeds = [Feed(part, part.frames) for part in (log, *(select(log, cameras=(name,)) for name in log.cameras))]
    both, front, left = (observe(scene, feed, SETTINGS, 0, 0.0) for feed in feeds)
    assert float(front.noise) != float(left.noise)
    geometry = np.asarray(front.precision.geometry) + np.asarray(left.precision.geometry)
    assert np.abs(geometry).max() > 0
    np.testing.assert_allclose(both.precision.geometry, geometry, rtol=1e-3, atol=1e-5 * np.abs(geometry).max())


def test_a_lead_slides_from_the_recorded_pose(log):
    frame, poses = log.frames[2], log.world_from_ego
    found = np.stack([np.asarray(view.camera.world_from_camera) for view in lead_in(frame, poses, 2.0, 4)])
    left = poses[frame.time_index][:3, 1]
    moved = (found[:, :3, 3] - frame.world_from_camera[:3, 3]) @ left
    np.testing.assert_allclose(moved, [0.0, 0.5, 1.0, 1.5], atol=1e-4)
    assert lead_in(frame, poses, 2.0, 0) == []


def test_a_video_takes_one_camera_at_a_time(log):
    feed = Feed(log, log.frames)
    assert paths(feed, 1, apart=False) == [[0, 1, 2, 3]] and paths(feed, 2, apart=False) == [[0, 2]]
    assert paths(feed, 1, apart=True) == [[0, 2], [1, 3]]


def test_what_leads_to_a_path_is_given_to_the_fixer_and_not_stored(log, monkeypatch):
    """Renders are black where nothing is known; the fixer gives back what its first frame is."""
    feed, seen = Feed(select(log, cameras=("front",)), select(log, cameras=("front",)).frames), []

    def render(scene, known, views, settings, degree):
        seen.append(np.stack([np.asarray(view.camera.world_from_camera)[:3, 3] for view in views]))
        return Clip(jnp.zeros((len(views), 24, 40, 3)), jnp.ones((len(views), 24, 40)), jnp.ones((len(views), 24, 40)))

    def first(config, params, key, frames, eig, references):
        return jnp.broadcast_to(frames[:1] + eig[:1, ..., None], frames.shape)

    monkeypatch.setattr(fix_event, "render_clip", render)
    fixer = Fixer({}, "first", first, chunk=3, overlap=1, lead=2)
    pool = init_pool(4, 24, 40)
    found = fix_event.add_pseudo_views(
        jax.random.key(0), pool, object.__new__(Scene), NOTHING, feed, fixer, (2.0, -2.0), SETTINGS, 0, EigConfig()
    )
    assert int(found.filled) == 4 and [len(views) for views in seen] == [4, 4]
    image = np.asarray(feed.batch(0).image, np.float32)
    image = image / 255 if image.max() > 1 else image
    np.testing.assert_allclose(found.images, np.broadcast_to(image, (4, 24, 40, 3)), atol=1e-6)
    for views, shift in zip(seen, (2.0, -2.0), strict=True):
        offsets = np.linalg.norm(views[:3] - feed.frames[0].world_from_camera[:3, 3], axis=1)
        np.testing.assert_allclose(offsets, [0.0, abs(shift) / 2, abs(shift)], atol=1e-4)
    np.testing.assert_array_equal(found.times, [frame.time for frame in feed.frames] * 2)


@pytest.mark.parametrize(("step", "name"), [(3, "a"), (5, "a"), (9, "b")])
def test_the_second_fixer_works_once_the_path_has_stopped_moving_outwards(log, monkeypatch, step, name):
    used = []
    monkeypatch.setattr(fuse, "learn", lambda *_: NOTHING)
    monkeypatch.setattr(fuse, "add_pseudo_views", lambda *rest: used.append(rest[5].name))
    schedule = ShiftSchedule(start=3, every=2, metres=1.0, largest=2.0, refresh=6)
    fixers = tuple(identity.build().replace(name=name) for name in "ab")
    event = fuse.make_event(Feed(log, log.frames), fixers, FuseConfig(schedule=schedule, fixer="a_then_b"))
    run = Run(SimpleNamespace(scene=object.__new__(Scene)), init_pool(1, 2, 2))
    event(run, step, Recipe(ReconConfig(), SETTINGS, 1.0, 10))
    assert used == [name]
