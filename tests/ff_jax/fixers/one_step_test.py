"""The frames of the one-step fixer as a condition."""

import dataclasses

import jax
import numpy as np
import pytest

from ff_jax.fixers import one_step
from ff_jax.fixers.difix.fixer import fixer_from_params, init_params
from ff_jax.fixers.identity import make_identity
from tests.ff_jax.fixers.difix.torch_difix import CONFIG
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow


def test_frames_of_eig_zero_are_not_repaired(monkeypatch):
    config = dataclasses.replace(CONFIG, use_aligned_references=True)
    monkeypatch.setattr(
        one_step, "one_step_fixer", lambda: fixer_from_params(init_params(jax.random.key(0), config), config)
    )
    frames = seeded_rng().integers(0, 256, (1, 16, 16, 3), np.uint8)
    found = one_step.repaired_condition(frames, np.zeros((1, 16, 16), np.float16), frames)
    np.testing.assert_array_equal(found[..., :3], frames)
    assert found.shape == (1, 16, 16, 4) and (found[..., 3] == 255).all()


def test_only_fixers_that_take_repaired_frames_get_them():
    given, frames = {"opacity": np.zeros((1, 2, 2, 2), np.uint8)}, np.zeros((1, 2, 2, 3), np.uint8)
    assert one_step.with_repaired(make_identity(), given, frames, frames[..., 0] / 255.0, frames) is given
