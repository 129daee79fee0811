"""Tiles against the whole image, for functions of single pixels."""

from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.tiling import linear_ramp, map_tiles, scan_tiles, sine_window, tile_starts
from tests.random_inputs import seeded_rng

ENLARGE = lambda x: jnp.repeat(jnp.repeat(jnp.sin(x), 4, 2), 4, 3)
REDUCE = lambda x: jnp.cos(x[:, :, ::4, ::4])


def draw_video(height, width):
    return jnp.asarray(seeded_rng().normal(size=(2, 3, height, width, 5)), jnp.float32)


@pytest.mark.parametrize(("size", "tile", "overlap"), [((11, 7), (6, 5), (2, 1)), ((5, 30), (9, 8), (4, 4))])
def test_tiles_join_to_the_whole(size, tile, overlap):
    x = draw_video(*size)
    np.testing.assert_allclose(map_tiles(ENLARGE, x, tile, overlap), ENLARGE(x), atol=1e-5)
    x = draw_video(*(4 * side for side in size))
    np.testing.assert_allclose(map_tiles(REDUCE, x, tile, overlap, 4), REDUCE(x), atol=1e-5)


def test_one_tile_is_exact_and_all_tiles_have_one_size():
    shapes = []

    def record(x):
        shapes.append(x.shape[2:4])
        return x / 3

    x = draw_video(6, 9)
    np.testing.assert_array_equal(map_tiles(record, x, (6, 9), (2, 2)), x / 3)
    assert shapes == [(6, 9)]
    map_tiles(record, x, (20, 4), (2, 2))
    assert set(shapes[1:]) == {(6, 4)}


def test_seams_are_blended_linearly():
    values = iter([0.0, 1.0])
    found = map_tiles(lambda x: jnp.full_like(x, next(values)), draw_video(3, 10), (3, 7), (1, 4))
    np.testing.assert_allclose(found[0, 0, 0, :, 0], [0, 0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1, 1], atol=1e-6)


def test_starts_cover_and_overlap():
    rng = seeded_rng()
    for _ in range(200):
        tile = int(rng.integers(2, 40))
        size, overlap = int(rng.integers(1, 300)), int(rng.integers(1, tile // 2 + 1))
        found = tile_starts(size, tile, overlap)
        assert found[0] == 0
        assert found[-1] + min(tile, size) == size
        assert all(before < after <= before + tile - overlap for before, after in pairwise(found))
        assert all((linear_ramp(start, found, min(tile, size), 8) > 0).all() for start in found)


def draw_inputs(height=21, width=33):
    rng = seeded_rng()
    return [jnp.asarray(rng.random((2, height, width, *more)), jnp.float32) for more in ((3,), (), (3,))]


def mix(arrays):
    """Return something made of all inputs, pixel by pixel."""
    render, eig, reference = arrays
    return render + eig[..., None] * reference


def test_one_scanned_tile_is_exactly_the_function():
    inputs = draw_inputs()
    np.testing.assert_array_equal(scan_tiles(mix, inputs, (21, 40), 4), mix(inputs))


@pytest.mark.parametrize("tile", [(8, 12), (21, 9), (30, 32)])
def test_scanned_tiles_join_to_the_whole(tile):
    inputs = draw_inputs()
    np.testing.assert_allclose(scan_tiles(mix, inputs, tile, 5), mix(inputs), atol=1e-5)


def test_tiles_are_averaged_with_their_weights():
    """Compare with a naive sum; every tile returns its own mean."""
    (image, *_), (tile, overlap) = draw_inputs(), ((8, 12), 5)
    mean = lambda x: jnp.broadcast_to(x.mean((1, 2), keepdims=True), x.shape)
    total, weights = np.zeros(image.shape), np.zeros((*image.shape[1:3], 1))
    for y in tile_starts(21, 8, 5):
        for x in tile_starts(33, 12, 5):
            at = np.s_[:, y : y + 8, x : x + 12]
            weight = np.outer(sine_window(8, 5), sine_window(12, 5))[..., None]
            total[at] += weight * np.asarray(mean(image[at]))
            weights[at[1:]] += weight
    np.testing.assert_allclose(scan_tiles(mean, image, tile, overlap), total / weights, atol=1e-5)


@pytest.mark.parametrize("length", [8, 9, 13, 33, 200])
def test_tiles_cover_a_side_with_the_overlap_asked_for(length):
    places = tile_starts(length, 8, 3)
    assert places[0] == 0 and places[-1] == length - 8
    assert (np.diff(places) <= 5).all()


def test_weights_are_positive_and_smooth():
    weight = sine_window(16, 5)
    assert weight.min() > 0 and weight[5:-5].min() == 1.0 and weight[0] < 0.05
    np.testing.assert_allclose(weight, weight[::-1])
    assert (np.diff(weight[:6]) > 0).all()
