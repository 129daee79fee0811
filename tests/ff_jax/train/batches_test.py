"""Training batches: the moving pixels that are trained on, prefetching, and missing files."""

import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest

from ff_jax.data.boxes import actor_region
from ff_jax.data.loader import load_mask
from ff_jax.data.recording import Recording
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.scene.tracks import actor_names
from ff_jax.train.batches import TrainBatches
from tests.ff_jax.data import tiny
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow


def batches_of(log, cache_bytes=4 << 30, **options):
    return TrainBatches(Recording(log, log.frames, **options), cache_bytes)


@pytest.fixture(scope="module")
def log():
    return street_log(0, StreetConfig(num_frames=4, moving=True), 104, 64, lidar=None)


def test_boxes_cover_moving_objects(log):
    names = actor_names(log, range(4))
    assert len(names) == 3
    frame = log.frames[1]
    moving, region = load_mask(frame, "dynamic") > 0.5, actor_region(log, frame, names)
    assert moving.sum() >= 10 and not (moving & ~region).any() and region.mean() < 0.3
    assert not actor_region(log, frame, ()).any()


def test_moving_pixels_count_only_if_they_are_modeled(log):
    names, moving = actor_names(log, range(4)), load_mask(log.frames[1], "dynamic") > 0.5
    masked_out, modeled = (batches_of(log, actors=actors).batch(1) for actors in ((), names))
    np.testing.assert_array_equal(masked_out.weight, ~moving)
    np.testing.assert_array_equal(modeled.weight, 1)
    assert not masked_out.dynamic.any()
    np.testing.assert_array_equal(modeled.dynamic, moving)
    # Without a mask the rectangles of the boxes count.
    bare = replace(log, frames=tuple(replace(frame, masks={}) for frame in log.frames))
    dynamic = batches_of(bare, actors=names).batch(1).dynamic
    np.testing.assert_array_equal(dynamic, actor_region(log, log.frames[1], names))


def test_prefetched_frames_are_the_same_frames(tmp_path):
    log, rng = tiny.make_scene(tmp_path / "log"), seeded_rng()
    direct, prefetched = batches_of(log), batches_of(log, cache_bytes=0)
    prefetched.prefetch([4, 5])  # never used: canceled
    for index in rng.permutation(6):
        prefetched.prefetch([int(index), int(rng.integers(6))])
        jax.tree.map(np.testing.assert_array_equal, prefetched.batch(int(index)), direct.batch(int(index)))
    assert direct.is_cached and not prefetched.is_cached


def test_an_error_of_a_prefetched_image_is_raised_when_the_batch_is_needed(tmp_path):
    log = tiny.make_scene(tmp_path / "log")
    batches = batches_of(log)
    log.frames[1].image.path.unlink()
    batches.prefetch([0, 1])
    batches.batch(0)
    with pytest.raises(ValueError, match=r"log/b0\.png"):
        batches.batch(1)


def test_a_log_that_is_deleted_during_training_is_an_error(tmp_path):
    log = tiny.make_scene(tmp_path / "log")
    batches = batches_of(log, use_lidar=False)
    batches.batch(0)
    shutil.rmtree(tmp_path / "log")
    batches.batch(0)  # cached
    with pytest.raises(ValueError, match=r"log/b0\.png"):
        batches.batch(1)
