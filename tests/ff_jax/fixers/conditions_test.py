"""Condition images of fixers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.conditions import CHANNELS, check_names, leave_out, num_channels, stack_conditions
from ff_jax.fixers.fixer import Fixer, fix
from ff_jax.fixers.triples import as_bytes
from tests.random_inputs import seeded_rng

KEY = jax.random.key(2)


def random_conditions(names, length, height=4, width=6):
    rng = seeded_rng()
    return {name: rng.random((length, height, width, CHANNELS[name] + 1), np.float32) for name in names}


def test_conditions_are_stacked_in_the_order_of_their_names():
    names = ("opacity", "lidar")
    conditions = random_conditions(names, 2)
    stacked = stack_conditions(names, conditions | random_conditions(["boxes"], 2))
    assert stacked.shape[-1] == num_channels(names) == 7
    np.testing.assert_array_equal(stacked, np.concatenate([conditions[name] for name in names], -1))
    as_stored = {name: np.asarray(as_bytes(images)) for name, images in conditions.items()}
    np.testing.assert_allclose(stack_conditions(names, as_stored), stacked, atol=0.5 / 255 + 1e-6)


def test_a_condition_is_left_out_whole_for_single_frames():
    conditions = random_conditions(CHANNELS, 4000)
    kept = leave_out(KEY, conditions, 0.3)
    is_given = np.stack([np.asarray(images).any((1, 2, 3)) for images in kept.values()])
    assert 0.6 < is_given.mean() < 0.8
    assert len({*map(tuple, is_given.astype(int).T)}) == 2 ** len(CHANNELS)  # independent of each other
    for images, name, given in zip(kept.values(), kept, is_given, strict=True):
        np.testing.assert_array_equal(images, np.where(given[:, None, None, None], conditions[name], 0))
    nothing = leave_out(KEY, conditions, 0.0)
    jax.tree.map(np.testing.assert_array_equal, nothing, dict(sorted(conditions.items())))


@pytest.mark.parametrize("names", [("depth",), ("boxes", "boxes")])
def test_conditions_that_do_not_exist_are_refused(names):
    with pytest.raises(ValueError, match="expected some of lidar, boxes"):
        check_names(names)


def paint(config, params, key, frames, eig, references, conditions):
    return frames + conditions["boxes"][..., :3] - conditions["opacity"][..., :1]


@pytest.mark.parametrize("chunk", [0, 2])
def test_a_fixer_gets_the_conditions_that_it_names_piece_by_piece(chunk):
    conditions = random_conditions(CHANNELS, 5)
    frames = seeded_rng().random((5, 4, 6, 3), np.float32)
    fixer = Fixer({}, "paint", paint, chunk=chunk, conditions=("opacity", "boxes"))
    fixed = fix(fixer, KEY, frames, frames[..., 0], frames, conditions)
    expected = frames + conditions["boxes"][..., :3] - conditions["opacity"][..., :1]
    np.testing.assert_allclose(fixed, expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"condition 'boxes' has shape \(4, 4, 6, 4\): the fixer takes \(5, 4, 6, 4\)"):
        fix(fixer, KEY, frames, frames[..., 0], frames, conditions | {"boxes": conditions["boxes"][:4]})
    with pytest.raises(ValueError, match="condition 'opacity' is missing"):
        fix(fixer, KEY, frames, frames[..., 0], frames)


def ignore(config, params, key, frames, eig, references):
    return jnp.zeros_like(frames)


def test_a_fixer_without_conditions_ignores_them():
    frames = np.ones((2, 4, 6, 3), np.float32)
    assert not fix(Fixer({}, "no", ignore), KEY, frames, frames[..., 0], frames, random_conditions(CHANNELS, 2)).any()
