"""`rasterize`: value, vjp and jvp of every implementation against autodiff of the dense specification."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import TileGrid, bin_tiles, check_finite, rasterize
from kernels.project.types import Projected
from kernels.rasterize.specs import CASES, SplatSpec, make_splats, projected_of
from tests.random_inputs import seeded_rng

SPEC = SplatSpec()
ARGUMENTS = ("mean2d", "conic", "opacity", "features")
CAPACITY = 1600  # fits the huge case; its lists are cut into several segments


def bins_of(splats: dict, tile: int, capacity: int = CAPACITY, spec: SplatSpec = SPEC):
    grid = TileGrid(spec.width, spec.height, tile)
    return bin_tiles(projected_of(jax.tree.map(jnp.asarray, splats)), grid, capacity=capacity, implementation="xla")


def everything(splats: dict, direction: dict, cotangent: tuple, name: str, tile: int, spec: SplatSpec = SPEC):
    """Compute value, vjp, jvp and the number of intersections."""
    bins = bins_of(splats, tile, spec=spec)

    def render(arguments):
        return rasterize(projected_of({**splats, **arguments}), arguments["features"], bins, implementation=name)

    arguments = {k: splats[k] for k in ARGUMENTS}
    value, pullback = jax.vjp(render, arguments)
    return value, pullback(cotangent)[0], jax.jvp(render, (arguments,), (direction,))[1], bins.num_intersections


RUN = jax.jit(everything, static_argnums=(3, 4, 5))


def random_problem(spec: SplatSpec):
    rng = seeded_rng()
    splats = make_splats(spec, rng)
    scale = {"mean2d": 1.0, "conic": 0.05, "opacity": 0.3, "features": 1.0}
    direction = {k: (s * rng.normal(size=splats[k].shape)).astype(np.float32) for k, s in scale.items()}
    shapes = (spec.height, spec.width, spec.channels), (spec.height, spec.width)
    return splats, direction, tuple(rng.normal(size=s).astype(np.float32) for s in shapes)


def assert_close(got, expected, what):
    """Compare by direction and by relative length: one pair at the 1/255 cut may fall on either side."""
    for (path, a), b in zip(jax.tree.leaves_with_path(got), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
        name = f"{what}{jax.tree_util.keystr(path)}"
        assert np.isfinite(a).all(), name
        length = np.linalg.norm(b)
        assert np.linalg.norm(a - b) <= 1e-3 * length + 1e-6, name
        if length > 1e-6:
            assert a @ b / (np.linalg.norm(a) * length) > 0.9999, name


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("name", "tile"), [("xla", 8), ("pallas", 16)])
def test_matches_the_specification(name, tile, case):
    splats, direction, cotangent = random_problem(SPEC._replace(case=case))
    value, gradient, tangent, count = RUN(splats, direction, cotangent, name, tile)
    expected = RUN(splats, direction, cotangent, "reference", 16)
    assert (int(count) == 0) == (case == "transparent") and int(count) <= CAPACITY
    # Features and alpha together: behind saturation the exact alpha is flat, the early stop leaves T_STOP of
    # it.
    assert_close(np.dstack(value), np.dstack(expected[0]), "value")
    assert_close(gradient, expected[1], "gradient")
    assert_close(np.dstack(tangent), np.dstack(expected[2]), "tangent")
    # The two modes are transposes of one another: <v, J d> = <J^T v, d>.
    forward = sum(np.vdot(v, t) for v, t in zip(cotangent, tangent, strict=True))
    reverse = sum(np.vdot(gradient[k], direction[k]) for k in ARGUMENTS)
    size = sum(np.linalg.norm(gradient[k]) * np.linalg.norm(direction[k]) for k in ARGUMENTS)
    assert abs(forward - reverse) <= 1e-4 * size


@pytest.mark.parametrize(("name", "tile"), [("xla", 8), ("pallas", 16)])
def test_is_bitwise_reproducible_and_ignores_the_order_of_the_input(name, tile):
    splats, direction, cotangent = random_problem(SPEC)
    first = RUN(splats, direction, cotangent, name, tile)
    again = RUN(splats, direction, cotangent, name, tile)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    permutation = seeded_rng().permutation(SPEC.gaussians)
    moved = jax.tree.map(lambda x: x[permutation], (splats, direction))
    value, gradient, tangent, _ = RUN(*moved, cotangent, name, tile)
    jax.tree.map(np.testing.assert_array_equal, (value, tangent), (first[0], first[2]))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[permutation]), gradient, first[1])


@pytest.mark.parametrize(("name", "tile"), [("xla", 8), ("pallas", 16)])
def test_a_broken_gaussian_leaves_the_others_alone(name, tile):
    splats, direction, cotangent = random_problem(SPEC)
    splats["opacity"][:3] = 0.5
    splats["extent"][:3] = 10
    absent = {k: v.copy() for k, v in splats.items()}
    absent["opacity"][:3] = 0
    splats["mean2d"][0] = np.nan
    splats["conic"][1] = np.nan
    splats["opacity"][2] = np.nan
    got, expected = (RUN(s, direction, cotangent, name, tile) for s in (splats, absent))
    jax.tree.map(np.testing.assert_array_equal, got[0], expected[0])
    assert_close({k: g[3:] for k, g in got[1].items()}, {k: g[3:] for k, g in expected[1].items()}, "gradient")


@pytest.mark.slow
def test_opaque_layers_blend_by_hand():
    """Three flat Gaussians over one pixel, against the recursion written out."""
    alpha, color = np.array([0.5, 0.9, 0.4]), np.array([1.0, 2.0, 4.0])
    splats = {
        "mean2d": np.full((3, 2), 0.5),
        "conic": np.tile([1e-9, 0, 1e-9], (3, 1)),
        "opacity": alpha[[1, 0, 2]],
        "features": color[[1, 0, 2], None],
        "depth": np.array([2.0, 1.0, 3.0]),
        "extent": np.full((3, 2), 1e4),
    }
    splats = {k: jnp.asarray(v, jnp.float32) for k, v in splats.items()}
    spec = SplatSpec(3, 5, 3, 1)
    bins = bins_of(splats, 8, 9, spec)
    out, total = rasterize(projected_of(splats), splats["features"], bins, implementation="xla")
    expected = 0.5 * 1 + 0.5 * 0.9 * 2 + 0.5 * 0.1 * 0.4 * 4
    np.testing.assert_allclose(out[..., 0], expected, rtol=1e-5)
    np.testing.assert_allclose(total, 1 - 0.5 * 0.1 * 0.6, rtol=1e-5)


def test_no_gaussians_and_wrong_bins():
    splats = make_splats(SplatSpec(0), seeded_rng())
    bins = jax.jit(lambda s: bins_of(s, 8))(splats)
    arguments = projected_of(jax.tree.map(jnp.asarray, splats)), jnp.asarray(splats["features"])
    for name in ("reference", "xla", "pallas"):
        out, alpha = rasterize(*arguments, bins, implementation=name)
        assert out.shape == (SPEC.height, SPEC.width, SPEC.channels) and not out.any() and not alpha.any()
    with pytest.raises(ValueError, match="list 0 Gaussians, but projected has 4"):
        rasterize(*jax.tree.map(lambda a: jnp.zeros((4, *a.shape[1:])), arguments), bins)


def test_check_finite_names_the_argument_and_the_row():
    splats, _, _ = random_problem(SPEC)
    check_finite(**splats)
    splats["conic"][7, 1] = np.inf
    with pytest.raises(ValueError, match=r"conic .* \(7, 1\)"):
        check_finite(**splats)


@pytest.mark.parametrize("name", ["xla", "pallas"])
def test_a_tile_does_not_depend_on_what_other_tiles_show(name):
    """Where a walk stops behind opaque Gaussians depends on that tile alone."""
    rng = seeded_rng()
    grid, N = TileGrid(16, 8, 8), 80  # two tiles

    def image(right: float):
        """Render the left tile, which is opaque after a few Gaussians; the right one may be more transparent."""
        mean2d = jnp.tile(jnp.array([[4.0, 4.0], [12.0, 4.0]]), (N, 1))
        conic = jnp.tile(jnp.array([0.01, 0.0, 0.01]), (2 * N, 1))
        opacity = jnp.tile(jnp.array([0.6, right]), N)
        extent, depth = jnp.tile(jnp.array([4.0, 4.0]), (2 * N, 1)), jnp.arange(2.0 * N)
        splats = Projected(mean2d, conic, opacity, depth, extent, features)
        return rasterize(splats, features, bin_tiles(splats, grid, capacity=1000), implementation=name)[0][:, :8]

    features = jnp.asarray(rng.normal(size=(2 * N, 3)), jnp.float32)
    run = jax.jit(image)
    assert np.array_equal(run(0.6), run(0.02))
