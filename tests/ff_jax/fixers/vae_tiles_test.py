"""Tiles against the whole image, for functions that look at one pixel at a time."""

from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.tiling import map_tiles, ramp, starts

ENLARGE = lambda x: jnp.repeat(jnp.repeat(jnp.sin(x), 4, 2), 4, 3)
REDUCE = lambda x: jnp.cos(x[:, :, ::4, ::4])


def draw(height, width):
    return jnp.asarray(np.random.default_rng().normal(size=(2, 3, height, width, 5)), jnp.float32)


@pytest.mark.parametrize(("size", "tile", "overlap"), [((11, 7), (6, 5), (2, 1)), ((5, 30), (9, 8), (4, 4))])
def test_tiles_join_to_the_whole(size, tile, overlap):
    x = draw(*size)
    np.testing.assert_allclose(map_tiles(ENLARGE, x, tile, overlap), ENLARGE(x), atol=1e-5)
    x = draw(*(4 * side for side in size))
    np.testing.assert_allclose(map_tiles(REDUCE, x, tile, overlap, 4), REDUCE(x), atol=1e-5)


def test_one_tile_is_exact_and_all_tiles_have_one_size():
    seen = []

    def record(x):
        seen.append(x.shape[2:4])
        return x / 3

    x = draw(6, 9)
    np.testing.assert_array_equal(map_tiles(record, x, (6, 9), (2, 2)), x / 3)
    assert seen == [(6, 9)]
    map_tiles(record, x, (20, 4), (2, 2))
    assert set(seen[1:]) == {(6, 4)}


def test_seams_are_blended_linearly():
    values = iter([0.0, 1.0])
    found = map_tiles(lambda x: jnp.full_like(x, next(values)), draw(3, 10), (3, 7), (1, 4))
    np.testing.assert_allclose(found[0, 0, 0, :, 0], [0, 0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1, 1], atol=1e-6)


def test_starts_cover_and_overlap():
    rng = np.random.default_rng()
    for _ in range(200):
        tile = int(rng.integers(2, 40))
        size, overlap = int(rng.integers(1, 300)), int(rng.integers(1, tile // 2 + 1))
        found = starts(size, tile, overlap)
        assert found[0] == 0
        assert found[-1] + min(tile, size) == size
        assert all(before < after <= before + tile - overlap for before, after in pairwise(found))
        assert all((ramp(start, found, min(tile, size), 8) > 0).all() for start in found)
