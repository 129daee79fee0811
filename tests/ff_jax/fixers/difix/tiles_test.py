"""Tiles of large images."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.ff_jax.fixers.difix import torch_difix  # noqa: F401  # isort: skip  (decides what diffusers imports)
from ff_jax.fixers.difix.tiles import starts, tiled, window


def draw(height=21, width=33):
    rng = np.random.default_rng()
    return [jnp.asarray(rng.random((2, height, width, *more)), jnp.float32) for more in ((3,), (), (3,))]


def mix(arrays):
    """Return something made of all inputs, pixel by pixel."""
    render, eig, reference = arrays
    return render + eig[..., None] * reference


def test_one_tile_is_exactly_the_function():
    inputs = draw()
    np.testing.assert_array_equal(tiled(mix, inputs, (21, 40), 4), mix(inputs))


@pytest.mark.parametrize("tile", [(8, 12), (21, 9), (30, 32)])
def test_a_function_of_single_pixels_does_not_see_the_tiles(tile):
    inputs = draw()
    np.testing.assert_allclose(tiled(mix, inputs, tile, 5), mix(inputs), atol=1e-5)


def test_tiles_are_averaged_with_their_weights():
    """Every tile answers with its own mean; the naive sum is written out."""
    (image, *_), (tile, overlap) = draw(), ((8, 12), 5)
    mean = lambda x: jnp.broadcast_to(x.mean((1, 2), keepdims=True), x.shape)
    total, weights = np.zeros(image.shape), np.zeros((*image.shape[1:3], 1))
    for y in starts(21, 8, 5):
        for x in starts(33, 12, 5):
            at = np.s_[:, y : y + 8, x : x + 12]
            weight = np.outer(window(8, 5), window(12, 5))[..., None]
            total[at] += weight * np.asarray(mean(image[at]))
            weights[at[1:]] += weight
    np.testing.assert_allclose(tiled(mean, image, tile, overlap), total / weights, atol=1e-5)


@pytest.mark.parametrize("length", [8, 9, 13, 33, 200])
def test_tiles_cover_a_side_with_the_overlap_asked_for(length):
    places = starts(length, 8, 3)
    assert places[0] == 0 and places[-1] == length - 8
    assert (np.diff(places) <= 5).all()


def test_weights_are_positive_and_smooth():
    weight = window(16, 5)
    assert weight.min() > 0 and weight[5:-5].min() == 1.0 and weight[0] < 0.05
    np.testing.assert_allclose(weight, weight[::-1])
    assert (np.diff(weight[:6]) > 0).all()
