"""The frames, sweeps and cameras that a recording selects from a log."""

from dataclasses import replace

import pytest

from ff_jax.data.recording import Recording, time_indices, train_frames
from tests.ff_jax.data import tiny


@pytest.fixture
def log(tmp_path):
    """The tiny log, with its last time step held out."""
    log = tiny.make_scene(tmp_path)
    last = tiny.STEPS - 1
    frames = tuple(replace(frame, split="test" if frame.time_index == last else "train") for frame in log.frames)
    return replace(log, frames=frames)


def test_train_frames_are_recorded(log):
    frames = train_frames(log)
    recording = Recording(log, frames)
    assert {frame.split for frame in frames} == {"train"} and len(frames) == 2 * (tiny.STEPS - 1)
    assert recording.time_indices == time_indices(frames) == tuple(range(tiny.STEPS - 1))
    assert recording.cameras == ("a", "b") and recording.image_size == (tiny.WIDTH, tiny.HEIGHT)
    assert recording.visible_log.frames == frames


def test_sweeps_of_held_out_times_are_not_trained_on(log):
    recording = Recording(log, train_frames(log))
    assert [sweep.time_index for sweep in recording.sweeps] == list(recording.time_indices)
    assert recording.visible_log.sweeps == recording.sweeps
    first, *_, held_out = log.frames
    assert recording.sweep_at(first).time_index == first.time_index
    # The sweep of a held-out time exists, but training has no frame there.
    assert recording.sweep_at(held_out).time_index == held_out.time_index


def test_without_lidar_there_are_no_sweeps(log):
    recording = Recording(log, train_frames(log), use_lidar=False)
    assert recording.sweeps == () and recording.sweep_at(log.frames[0]) is None


def test_images_of_several_sizes_are_padded_to_one(log):
    first, *rest = log.frames
    log = replace(log, frames=(replace(first, width=20, height=18, image=first.image), *rest))
    whole, part = Recording(log, train_frames(log)), Recording(log, log.frames[1:2])
    assert whole.image_size == part.image_size == (24, 18)
    assert {(frame.width, frame.height) for frame in (*whole.padded_frames, *part.padded_frames)} == {(24, 18)}
    assert whole.visible_log.frames == whole.frames == train_frames(log)  # what is measured has its own size
