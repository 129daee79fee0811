"""`bin_tiles` against brute force over all pixels."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import Projected, ProjectionOptions, TileGrid, bin_tiles, count_tiles, default_tile, project
from kernels.bin_tiles.xla import sort_by_tile
from kernels.project.specs import TINY, make_scene, scene_records
from tests.random_inputs import seeded_rng

W, H = TINY.width, TINY.height
PROJECT = jax.jit(lambda scene: project(*scene_records(scene), ProjectionOptions(W, H)))
BIN = jax.jit(bin_tiles, static_argnames=("capacity", "num_parts", "implementation"))


COUNT = jax.jit(count_tiles, static_argnames="grid")


def bins_of(p: Projected, tile: int = 8, capacity: int = 2000, name: str = "xla", size: tuple = (W, H)):
    return BIN(p, TileGrid(*size, tile), capacity=capacity, implementation=name)


def scene() -> Projected:
    return PROJECT(make_scene(TINY, seeded_rng()))


def alphas(p: Projected) -> np.ndarray:
    """Compute alpha (N, H, W) before the cut, in float64."""
    x, y = np.meshgrid(np.arange(W) + 0.5, np.arange(H) + 0.5)
    a, b, c = np.asarray(p.conic, np.float64).T[:, :, None, None]
    dx, dy = (np.asarray(p.mean2d[:, k], np.float64)[:, None, None] - q for k, q in ((0, x), (1, y)))
    return np.asarray(p.opacity)[:, None, None] * np.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)


def lists(bins) -> list[list[int]]:
    starts = np.asarray(bins.tile_starts)
    return [np.asarray(bins.ids)[a:b].tolist() for a, b in itertools.pairwise(starts)]


@pytest.mark.parametrize("tile", [8, 16])
def test_lists_hold_what_is_visible_front_to_back(tile):
    p = scene()
    bins, alpha = bins_of(p, tile), alphas(p)
    columns = bins.grid.columns
    wider = alphas(p._replace(opacity=p.opacity * 1.2))  # what the slack of the test may add
    for t, ids in enumerate(lists(bins)):
        box = np.s_[:, t // columns * tile : (t // columns + 1) * tile, t % columns * tile : (t % columns + 1) * tile]
        visible = np.flatnonzero((alpha[box] >= 1 / 255 + 1e-6).any((1, 2)))
        assert set(visible) <= set(ids), "a visible Gaussian is missing"
        touching = np.flatnonzero((wider[box] >= 1 / 255).any((1, 2)))
        # The list may keep an ellipse that passes between pixel centers, but nothing far away.
        assert len(set(ids) - set(touching)) <= 0.2 * len(ids) + 2
        assert len(set(ids)) == len(ids)
        depth = np.asarray(p.depth)[ids]
        assert (np.diff(depth) >= 0).all()


@pytest.mark.parametrize("name", ["xla", "pallas"])
@pytest.mark.parametrize(("tile", "capacity"), [(8, 2000), (16, 40)])
def test_matches_reference(tile, capacity, name):
    p = scene()
    got, expected = bins_of(p, tile, capacity, name), bins_of(p, tile, capacity, "reference")
    used = int(expected.tile_starts[-1])
    assert used > 20
    for name in ("tile_starts", "order", "first", "last"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name), err_msg=name)
    for name in ("ids", "emission"):
        np.testing.assert_array_equal(getattr(got, name)[:used], getattr(expected, name)[:used], err_msg=name)
    assert int(got.num_intersections) >= int(expected.num_intersections)
    if expected.num_intersections <= capacity:
        assert int(got.num_intersections) == int(expected.num_intersections)


def test_emission_numbers_invert_the_lists():
    bins = bins_of(scene())
    used = int(bins.num_intersections)
    emission, ids = np.asarray(bins.emission)[:used], np.asarray(bins.ids)[:used]
    np.testing.assert_array_equal(np.sort(emission), np.arange(used))
    owner = np.empty(used, int)
    owner[emission] = ids
    for g, first, last in zip(*map(np.asarray, (bins.order, bins.first, bins.last)), strict=True):
        assert (owner[first:last] == g).all()
    assert (np.asarray(bins.last) - np.asarray(bins.first)).sum() == used


@pytest.mark.parametrize("name", ["xla", "pallas"])
def test_overflow_keeps_the_front_and_is_reported(name):
    p = scene()
    full, small = bins_of(p, name=name), bins_of(p, capacity=40, name=name)
    assert int(full.num_intersections) > 40 and int(small.num_intersections) > 40
    assert int(small.tile_starts[-1]) <= 40
    for short, all_ids in zip(lists(small), lists(full), strict=True):
        assert short == all_ids[: len(short)]
    enough = bins_of(p, capacity=int(small.num_intersections), name=name)
    assert lists(enough) == lists(full)


@pytest.mark.parametrize("tile", [8, 16])
def test_the_count_without_lists_is_that_of_the_lists(tile):
    p = scene()
    bins = bins_of(p, tile)
    culled = p._replace(opacity=jnp.zeros_like(p.opacity), extent=jnp.zeros_like(p.extent))
    assert 40 < int(bins.num_intersections) == int(COUNT(p, bins.grid))
    assert int(COUNT(culled, bins.grid)) == 0 == int(count_tiles(jax.tree.map(lambda x: x[:0], p), bins.grid))


def test_permutation_of_the_input_does_not_matter():
    p = scene()
    permutation = seeded_rng().permutation(TINY.gaussians)
    moved = jax.tree.map(lambda x: x[permutation], p)
    assert [[int(permutation[i]) for i in ids] for ids in lists(bins_of(moved))] == lists(bins_of(p))


def test_nothing_to_list():
    p = scene()
    dead = p._replace(opacity=jnp.zeros_like(p.opacity), extent=jnp.zeros_like(p.extent))
    for case in (dead, jax.tree.map(lambda x: x[:0], p)):
        for name in ("xla", "pallas", "reference"):
            bins = bins_of(case, name=name)
            assert int(bins.num_intersections) == 0 and int(bins.tile_starts[-1]) == 0
            assert bins.order.shape == case.depth.shape


@pytest.mark.parametrize("name", ["xla", "pallas"])
def test_not_a_number_is_listed_nowhere(name):
    p = scene()
    rows = jnp.arange(5)
    broken = p._replace(
        mean2d=p.mean2d.at[0].set(jnp.nan),
        conic=p.conic.at[1].set(jnp.nan),
        opacity=p.opacity.at[2].set(jnp.nan),
        extent=p.extent.at[3].set(jnp.nan),
    )
    bins = bins_of(broken, name=name)
    expected = bins_of(p._replace(opacity=p.opacity.at[rows[:4]].set(0.0)), name=name)
    assert lists(bins) == lists(expected)


@pytest.mark.parametrize("last", [416, 65535, 65536, 10_000_000])
def test_sort_by_tile_is_stable_for_any_number_of_tiles(last):
    tiles = seeded_rng().integers(0, 7, 3000) * (last // 6 - 1)
    got, places = sort_by_tile(jnp.asarray(tiles, jnp.int32), last)
    order = np.argsort(tiles, kind="stable")
    np.testing.assert_array_equal(places, order)
    np.testing.assert_array_equal(np.asarray(got, np.int64), tiles[order])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "N"), [("xla", 70_000), ("pallas", 2200)])
def test_count_beyond_int32_saturates(name, N):
    """Screen-filling Gaussians on a huge image; 70,000 of them overflow in (Gaussian, tile row) pairs alone."""
    side = 16 * 1000
    p = Projected(
        mean2d=jnp.full((N, 2), side / 2),
        conic=jnp.tile(jnp.array([1e-9, 0, 1e-9]), (N, 1)),
        opacity=jnp.full(N, 0.9),
        depth=jnp.arange(N, dtype=jnp.float32),
        extent=jnp.full((N, 2), 1e5),
        color=jnp.zeros((N, 3)),
    )
    bins = bins_of(p, 16, 64, name, size=(side, side))
    assert int(bins.num_intersections) == int(COUNT(p, bins.grid)) == 2**31 - 1


def test_gradients_stop_and_bad_arguments_are_named():
    p = scene()
    grid = TileGrid(W, H)

    def loss(mean2d):
        bins = bin_tiles(p._replace(mean2d=mean2d), grid, capacity=100, implementation="xla")
        return jnp.sum(mean2d) + bins.tile_starts[-1].astype(jnp.float32)

    np.testing.assert_array_equal(jax.jit(jax.grad(loss))(p.mean2d), 1)
    with pytest.raises(ValueError, match="capacity=0"):
        bin_tiles(p, grid, capacity=0)
    with pytest.raises(ValueError, match="'gpu'"):
        default_tile("gpu")


@pytest.mark.parametrize("name", ["xla", "pallas", "reference"])
@pytest.mark.parametrize("parts", [3, 7])  # of 4 rows of tiles
def test_parts_share_out_the_tile_rows(name, parts):
    p, grid = scene(), TileGrid(W, H, 8)
    whole = lists(bins_of(p, 8, 2000, "xla"))
    count = 0
    for part in range(parts):
        bins = BIN(p, grid, capacity=2000, part=part, num_parts=parts, implementation=name)
        of_part = [t // grid.columns % parts == part for t in range(len(whole))]
        assert lists(bins) == [ids if own else [] for ids, own in zip(whole, of_part, strict=True)]
        spans = zip(*map(np.asarray, (bins.order, bins.first, bins.last)), strict=True)
        by_emission = np.asarray(bins.ids)[np.argsort(np.asarray(bins.emission)[: int(bins.num_intersections)])]
        assert all((by_emission[a:b] == k).all() for k, a, b in spans)
        count += int(bins.num_intersections)
    assert count == sum(map(len, whole))
