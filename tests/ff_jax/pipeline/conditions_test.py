"""Condition images of recorded and moved views."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.points.colored import colored_sweep, draw_sweeps
from ff_jax.data.recording import Recording
from ff_jax.data.scene_data import boxes_at
from ff_jax.fixers.conditions import CHANNELS, check_conditions
from ff_jax.pipeline.canvases import draw_boxes, draw_lanes
from ff_jax.pipeline.conditions import make_conditions
from ff_jax.render.renderer import RenderSettings
from ff_jax.scene import SceneModel, render_scene
from ff_jax.train.batches import shifted_frame, view_of
from tests.ff_jax.data import tiny
from tests.random_inputs import seeded_rng
from tests.scenes import scene_from_points

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tiny.make_scene(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model():
    rng = seeded_rng()
    points, colors = rng.uniform([4, -3, -2], [9, 3, 2], (20, 3)), rng.random((20, 3))
    scene = scene_from_points(points, colors, 0.5, 20)
    return SceneModel(scene, RenderSettings(capacity=4096), jnp.int32(0))


DRAWN = tuple(name for name in CHANNELS if name != "repaired")  # `fixers.one_step` makes the other


def conditions_of(recording, model, shift=1.5, names=DRAWN, **options):
    frames = [shifted_frame(frame, recording.log, shift) for frame in recording.padded_frames[:3]]
    views = [view_of(frame, 0) for frame in frames]
    return frames, views, make_conditions(names, recording, frames, views, model, **options)


def test_every_condition_is_what_its_part_draws_and_is_given(log, model):
    recording = Recording(log, log.frames)
    frames, views, made = conditions_of(recording, model)
    check_conditions(DRAWN, made, (3, tiny.HEIGHT, tiny.WIDTH))
    for number, (frame, view) in enumerate(zip(frames, views, strict=True)):
        boxes = boxes_at(log, frame.time_index)
        sweeps = [colored_sweep(log, index) for index in range(3)]  # the whole log lies in the window
        expected = {
            "lidar": draw_sweeps(sweeps, boxes, frame),
            "boxes": draw_boxes(boxes, frame),
            "lanes": draw_lanes(log.lanes, frame),
            "opacity": np.asarray(render_scene(model, view).alpha)[..., None],
        }
        for name, image in expected.items():
            np.testing.assert_allclose(made[name][number, ..., :-1] / 255, image, atol=0.51 / 255)
            assert (made[name][number, ..., -1] == 255).all()
    assert all(images[..., :-1].any() for images in made.values())


def test_what_a_log_lacks_counts_as_left_out(log, model):
    bare = replace(log, sweeps=(), boxes=(), lanes=())
    _, _, made = conditions_of(Recording(bare, bare.frames), model)
    assert [name for name, images in made.items() if images.any()] == ["opacity"]
    _, _, without = conditions_of(Recording(log, log.frames, use_lidar=False), model, names=("lidar", "boxes"))
    assert not without["lidar"].any() and without["boxes"].any()


def test_a_lag_draws_the_points_of_other_time_steps_with_the_boxes_of_the_view(log, model):
    recording = Recording(log, log.frames)
    frames, _, late = conditions_of(recording, model, names=("lidar",), lags=[5] * 3)
    assert not late["lidar"][0, ..., :-1].any()  # no sweep within the window of step 5
    frames, _, late = conditions_of(recording, model, names=("lidar",), lags=[3, 0, 0])
    want = draw_sweeps([colored_sweep(log, index) for index in (1, 2)], boxes_at(log, 0), frames[0])
    np.testing.assert_allclose(late["lidar"][0, ..., :-1] / 255, want, atol=0.51 / 255)


def test_held_out_images_color_nothing(log, model):
    """Frames that a reconstruction does not use must not be seen through a condition."""
    recording = Recording(log, tuple(frame for frame in log.frames if frame.time_index != 1))
    frames, _, made = conditions_of(recording, model, names=("lidar",))
    used = replace(log, frames=recording.frames)
    want = draw_sweeps([colored_sweep(used, index) for index in (0, 2)], boxes_at(log, 0), frames[0])
    np.testing.assert_allclose(made["lidar"][0, ..., :-1] / 255, want, atol=0.51 / 255)
