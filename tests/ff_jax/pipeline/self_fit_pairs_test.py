"""Triples for `self_fit` from a thinned log."""

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.scene_data import Frame
from ff_jax.fixers.self_fit import Triples
from ff_jax.pipeline.self_fit_pairs import interleaved, split_thin


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
    kept, held = split_thin(frames, 3)
    assert [f.time_index for f in kept] == [0, 0, 3, 3] and len(kept) + len(held) == len(frames)
    assert {f.time_index for f in kept}.isdisjoint(f.time_index for f in held)
    with pytest.raises(ValueError, match="keeps 1"):
        split_thin(frames, 6)
    with pytest.raises(ValueError, match="keeps 6"):
        split_thin(frames, 1)


def test_interleaved_triples_keep_neighbours_together():
    ramp = lambda start: jnp.arange(start, start + 3.0)
    image = lambda start: jnp.broadcast_to(ramp(start)[:, None, None, None], (3, 2, 2, 3))
    first, second = (Triples(image(s), image(s)[..., 0], image(s), image(s)) for s in (0, 10))
    merged = interleaved(first, second)
    np.testing.assert_array_equal(merged.renders[:, 0, 0, 0], [0, 10, 1, 11, 2, 12])
    np.testing.assert_array_equal(merged.eigs[:, 0, 0], [0, 10, 1, 11, 2, 12])
