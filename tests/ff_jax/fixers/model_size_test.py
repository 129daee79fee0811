"""Frames of any size in networks of limited sizes."""

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.model_size import pad, resize, round_up, working_size
from tests.random_inputs import seeded_rng


@pytest.mark.parametrize(
    ("size", "expected"), [((1280, 1920), (576, 864)), ((160, 240), (160, 240)), ((9, 2048), (4, 1024))]
)
def test_working_size(size, expected):
    assert working_size(size, (576, 1024)) == expected


def test_enlarging_fills_one_side():
    assert working_size((128, 208), (480, 720), enlarge=True) == (443, 720)
    assert working_size((960, 1000), (480, 720), enlarge=True) == (480, 500)


def test_resizing_keeps_equal_sizes_and_averages_when_it_shrinks():
    images = jnp.asarray(seeded_rng().random((2, 6, 8, 3)), jnp.float32)
    assert resize(images, (6, 8)) is images
    half = resize(images, (3, 4))
    assert half.shape == (2, 3, 4, 3)
    np.testing.assert_allclose(half.mean(), images.mean(), atol=0.05)


@pytest.mark.parametrize("shape", [(1, 7, 9), (1, 7, 9, 2)])
def test_padding_repeats_the_edge(shape):
    images = jnp.asarray(seeded_rng().random(shape), jnp.float32)
    found = np.asarray(pad(images, round_up((7, 9), 4)))
    assert found.shape[1:3] == (8, 12)
    np.testing.assert_array_equal(found, np.pad(images, [(0, 0), (0, 1), (0, 3)] + [(0, 0)] * (len(shape) - 3), "edge"))
