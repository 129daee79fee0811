"""What of a log becomes a batch: above all, which moving pixels are trained on."""

import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest

from ff_jax.data.loader import load_mask
from ff_jax.data.synthetic import WorldConfig
from ff_jax.data.synthetic.driving_log import world_scene
from ff_jax.scene.tracks import actor_names
from ff_jax.train.batches import Feed, actor_region
from tests.ff_jax.data import tiny


@pytest.fixture(scope="module")
def log():
    return world_scene(0, WorldConfig(num_frames=4, moving=True), 104, 64, lidar=False)


def test_boxes_cover_what_moves(log):
    names = actor_names(log, range(4))
    assert len(names) == 3
    frame = log.frames[1]
    moving, region = load_mask(frame, "dynamic") > 0.5, actor_region(log, frame, names)
    assert moving.sum() >= 10 and not (moving & ~region).any() and region.mean() < 0.3
    assert not actor_region(log, frame, ()).any()


def test_moving_pixels_count_when_they_are_modelled_and_only_then(log):
    names, moving = actor_names(log, range(4)), load_mask(log.frames[1], "dynamic") > 0.5
    left_out, modelled = (Feed(log, log.frames, actors=chosen).batch(1) for chosen in ((), names))
    np.testing.assert_array_equal(left_out.weight, ~moving)
    np.testing.assert_array_equal(modelled.weight, 1)
    assert not left_out.dynamic.any()
    np.testing.assert_array_equal(modelled.dynamic, moving)
    # Without a mask all of the boxes' rectangles count.
    bare = replace(log, frames=tuple(replace(frame, masks={}) for frame in log.frames))
    np.testing.assert_array_equal(
        Feed(bare, bare.frames, actors=names).batch(1).dynamic, actor_region(log, log.frames[1], names)
    )


def test_expected_frames_are_the_same_frames(tmp_path):
    log, rng = tiny.make_scene(tmp_path / "log"), np.random.default_rng()
    waiting, expecting = Feed(log, log.frames), Feed(log, log.frames, device_bytes=0)
    expecting.expect([4, 5])  # not asked for: given up
    for index in rng.permutation(6):
        expecting.expect([int(index), int(rng.integers(6))])
        jax.tree.map(np.testing.assert_array_equal, expecting.batch(int(index)), waiting.batch(int(index)))
    assert waiting.is_kept and not expecting.is_kept


def test_an_image_that_cannot_be_read_ahead_is_missed_when_it_is_needed(tmp_path):
    log = tiny.make_scene(tmp_path / "log")
    feed = Feed(log, log.frames)
    log.frames[1].image.path.unlink()
    feed.expect([0, 1])
    feed.batch(0)
    with pytest.raises(ValueError, match=r"log/b0\.png: no such file; restore it"):
        feed.batch(1)


def test_a_log_that_is_deleted_during_training_gets_one_sentence(tmp_path):
    log = tiny.make_scene(tmp_path / "log")
    feed = Feed(log, log.frames, use_lidar=False)
    feed.batch(0)
    shutil.rmtree(tmp_path / "log")
    feed.batch(0)  # what was seen is still there
    with pytest.raises(ValueError, match=r"log/b0\.png: no such file; restore it"):
        feed.batch(1)
