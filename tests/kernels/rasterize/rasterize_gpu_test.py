"""The compiled kernels on a GPU: right, bitwise reproducible, and right through project and bin_tiles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import ProjectionOptions, RasterConfig, TileGrid, bin_tiles, project, rasterize
from kernels.project.specs import SceneSpec, make_scene, scene_records
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.gpu

SPEC = SceneSpec(2000, 203, 90, max_scale=0.1, sh_degree=2)
GRID = TileGrid(SPEC.width, SPEC.height)


def render(scene: dict, name: str):
    """Render features (color, depth and a constant) and alpha, and count the intersections."""
    p = project(*scene_records(scene), ProjectionOptions(SPEC.width, SPEC.height, antialiased=True))
    bins = bin_tiles(p, GRID, capacity=1 << 17, implementation=name if name != "reference" else "xla")
    features = jnp.concatenate([p.color, p.depth[:, None], jnp.ones_like(p.depth[:, None])], -1)
    return jnp.dstack(rasterize(p, features, bins, implementation=name)), bins.num_intersections


def everything(scene: dict, direction: dict, cotangent, name: str):
    value, pullback, count = jax.vjp(lambda s: render(s, name), scene, has_aux=True)
    tangent = jax.jvp(lambda s: render(s, name)[0], (scene,), (direction,))[1]
    return {"value": value, "gradient": pullback(cotangent)[0], "tangent": tangent, "intersections": count}


RUN = jax.jit(everything, static_argnums=3)


@pytest.mark.parametrize("kernels", ["pallas", "mosaic"])
def test_compiled_kernels_match_the_specification(kernels):
    rng = seeded_rng()
    scene = make_scene(SPEC, rng)
    direction = jax.tree.map(lambda x: (1e-2 * rng.normal(size=x.shape)).astype(np.float32), scene)
    cotangent = rng.normal(size=(SPEC.height, SPEC.width, 6)).astype(np.float32)
    got, again = (RUN(scene, direction, cotangent, kernels) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, got, again)
    assert int(got["intersections"]) <= 1 << 17
    for name in ("xla", "reference"):
        expected = RUN(scene, direction, cotangent, name)
        for (path, a), b in zip(jax.tree.leaves_with_path(got), jax.tree.leaves(expected), strict=True):
            a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
            error = np.linalg.norm(a - b) / np.linalg.norm(b)
            print(f"{name} {jax.tree_util.keystr(path)} relative error {error:.1e}")
            assert error < 2e-3, (name, path)


def test_two_warps_total_what_one_does():
    scene = jax.tree.map(jnp.asarray, make_scene(SPEC, seeded_rng()))
    p = project(*scene_records(scene), ProjectionOptions(SPEC.width, SPEC.height))
    bins = bin_tiles(p, GRID, capacity=1 << 17)

    def loss(splats, warps):
        config = RasterConfig(warps=warps)
        return jnp.mean(rasterize(*splats, bins, implementation="pallas", config=config)[0] ** 2)

    one, two = (jax.jit(jax.grad(loss), static_argnums=1)((p, p.color), warps) for warps in (1, 2))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(a)


def test_lists_are_those_of_the_jnp_form_but_for_rounding():
    scene = make_scene(SPEC, seeded_rng())
    p = jax.jit(project)(*scene_records(scene), ProjectionOptions(SPEC.width, SPEC.height))
    run, capacity = jax.jit(bin_tiles, static_argnames=("capacity", "implementation")), 1 << 17
    got, want = (run(p, GRID, capacity=capacity, implementation=name) for name in ("pallas", "xla"))
    np.testing.assert_array_equal(got.order, want.order)
    assert 1000 < int(want.num_intersections) <= capacity
    differ = set(tile_pairs(got)) ^ set(tile_pairs(want))
    assert len(differ) <= 1e-3 * int(want.num_intersections), "more than roundings of spans at a hundredth of a pixel"
    rank = np.argsort(np.asarray(got.order))
    tiles, ids = (np.array(x) for x in zip(*tile_pairs(got), strict=True))
    assert (np.diff(rank[ids])[np.diff(tiles) == 0] > 0).all(), "every list runs front to back"
    again = run(p, GRID, capacity=capacity, implementation="pallas")
    used = int(got.num_intersections)
    np.testing.assert_array_equal(got.ids[:used], again.ids[:used])
    owner = np.asarray(got.ids)[np.argsort(np.asarray(got.emission)[:used])]
    for k, first, last in zip(*map(np.asarray, (got.order, got.first, got.last)), strict=True):
        assert (owner[first:last] == k).all()


def tile_pairs(bins) -> list[tuple[int, int]]:
    """List the pairs (tile, Gaussian) in list order."""
    starts = np.asarray(bins.tile_starts)
    tiles = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    return list(zip(tiles.tolist(), np.asarray(bins.ids)[: starts[-1]].tolist(), strict=True))
