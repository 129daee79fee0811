"""Training pairs for `self_fit` from a part of a log."""

import numpy as np
import pytest

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.scene_data import Frame
from ff_jax.fixers.triples import Triples
from ff_jax.pipeline.self_fit_pairs import interleave, split_frames


def frame(step, camera):
    pose = np.eye(4)
    return Frame(
        image=Source("black", lambda: np.zeros((3, 4, 3), np.uint8)),
        camera=camera,
        time_index=step,
        time=0.1 * step,
        K=np.eye(3),
        world_from_camera=pose,
        width=4,
        height=3,
    )


def test_time_steps_are_kept_or_held_out_whole():
    frames = tuple(frame(step, camera) for step in range(6) for camera in ("left", "right"))
    kept, held_out = split_frames(frames, 3)
    assert [f.time_index for f in kept] == [0, 0, 3, 3] and len(kept) + len(held_out) == len(frames)
    assert {f.time_index for f in kept}.isdisjoint(f.time_index for f in held_out)
    with pytest.raises(ValueError, match="keeps 1"):
        split_frames(frames, 6)
    with pytest.raises(ValueError, match="keeps 6"):
        split_frames(frames, 1)


def triples(start):
    images = np.broadcast_to(np.arange(start, start + 3.0)[:, None, None, None], (3, 2, 2, 3)).astype(np.uint8)
    return Triples(images, images[..., 0].astype(np.float16), images, images)


def test_interleaved_triples_keep_neighbors_together():
    merged = interleave(triples(0), triples(10))
    np.testing.assert_array_equal(merged.renders[:, 0, 0, 0], [0, 10, 1, 11, 2, 12])
    np.testing.assert_array_equal(merged.eigs[:, 0, 0], [0, 10, 1, 11, 2, 12])
