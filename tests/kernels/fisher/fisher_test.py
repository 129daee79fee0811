"""The Fisher kernels against their specification, and the specification against autodiff."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import (
    Bins,
    Projected,
    TileGrid,
    Uncertainty,
    bin_tiles,
    eig_map,
    fisher_information,
    pack_symmetric,
    unpack_symmetric,
)
from kernels.fisher.eig import eig_of_covariance
from kernels.fisher.specs import TEST_SPECS, FisherSpec
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

# Most problems are tiny: on a CPU, compiling is what takes time.
QUICK = None if jax.default_backend() == "gpu" else {"xla_backend_optimization_level": 0}
quick = functools.partial(jax.jit, compiler_options=QUICK)
fisher_fast = quick(fisher_information, static_argnames="implementation")
eig_map_fast = quick(eig_map, static_argnames=("implementation", "mode"))
bin_fast = quick(bin_tiles, static_argnames="capacity")


def splats(rng, spec):
    """Sample footprints: round and long thin ones, opaque and faint, some of them off the image."""
    n = spec.gaussians
    angle, sizes = rng.uniform(0, np.pi, n), np.exp(rng.normal(1.0, 0.8, (n, 2)))
    axes = np.stack([np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], -2)
    covariance = np.einsum("nij,nj,nkj->nik", axes, sizes**2, axes) + 0.3 * np.eye(2)
    inverse = np.linalg.inv(covariance) if n else np.zeros((0, 2, 2))
    opacity = rng.uniform(0.02, 0.98, n)
    reach = np.sqrt(2 * np.log(np.maximum(opacity * 255, 1)))
    return Projected(
        mean2d=rng.uniform(-5, [spec.width + 5, spec.height + 5], (n, 2)),
        conic=np.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], -1),
        opacity=opacity,
        extent=reach[:, None] * np.sqrt(np.stack([covariance[:, 0, 0], covariance[:, 1, 1]], -1)),
        depth=rng.uniform(1, 9, n),
        color=rng.uniform(0, 1, (n, 3)),
    )


def blend(mean2d, conic, opacity, color, depth, background):
    """Composite every Gaussian over every pixel, one after the other; return the image and alpha."""
    height, width, _ = background.shape
    if not len(depth):
        return background, jnp.zeros((height, width))
    y, x = jnp.indices((height, width)) + 0.5

    def over(carry, i):
        image, T = carry
        dx, dy = mean2d[i, 0] - x, mean2d[i, 1] - y
        sigma = 0.5 * (conic[i, 0] * dx**2 + conic[i, 2] * dy**2) + conic[i, 1] * dx * dy
        alpha = jnp.minimum(opacity[i] * jnp.exp(-sigma), 0.999)
        alpha = jnp.where(alpha >= 1 / 255, alpha, 0)
        return (image + (alpha * T)[..., None] * color[i], T * (1 - alpha)), None

    empty = jnp.zeros_like(background), jnp.ones((height, width))
    (image, T), _ = jax.lax.scan(over, empty, jnp.argsort(depth, stable=True))
    return image + T[..., None] * background, 1 - T


class Problem(NamedTuple):
    """The inputs of both ops."""

    projected: Projected
    bins: Bins
    image: jax.Array
    alpha: jax.Array
    weight: jax.Array
    uncertainty: Uncertainty
    background: jax.Array

    def information(self, **how):
        return fisher_fast(self.projected, self.projected.color, self.bins, self.image, self.weight, **how)

    def eig(self, **how):
        inputs = self.bins, self.image, self.alpha, self.uncertainty
        return eig_map_fast(self.projected, self.projected.color, *inputs, **how)


def problem(spec, capacity=4096) -> Problem:
    """Sample the inputs of both ops, as float32 arrays."""
    rng = seeded_rng()
    scene = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), splats(rng, spec))
    bins = bin_fast(scene, TileGrid(spec.width, spec.height, spec.tile), capacity=capacity)
    background = jnp.asarray(rng.uniform(0, 1, (spec.height, spec.width, 3)), jnp.float32)
    image, alpha = quick(blend)(scene.mean2d, scene.conic, scene.opacity, scene.color, scene.depth, background)
    factor = rng.normal(size=(spec.gaussians, 6, 6)) * np.array([1, 1, 0.1, 0.1, 0.1, 1])[:, None]
    factor = jnp.asarray(factor, jnp.float32)
    weight = jnp.asarray(rng.uniform(0, 2, alpha.shape), jnp.float32)
    color_var = jnp.asarray(rng.uniform(0, 1, spec.gaussians), jnp.float32)
    uncertainty = Uncertainty(factor, color_var, noise_var=0.01, background_var=0.09)
    return Problem(scene, bins, image, alpha, weight, uncertainty, background)


def close(got, want, tolerance=2e-4):
    """Compare relative to the largest entry of each column: sums of squares span many orders of magnitude."""
    scale = np.abs(want).max(0, keepdims=True, initial=1e-6)
    np.testing.assert_allclose(got / scale, want / scale, atol=tolerance)


def test_specification_is_the_jacobian_of_the_image():
    p = problem(FisherSpec(6, 20, 12, 16))
    mean2d, conic, opacity, depth, _, color = p.projected
    factor, color_var, noise_var, background_var = p.uncertainty

    def composite(footprint, color):
        parameters = footprint[:, :2], footprint[:, 2:5], jnp.exp(footprint[:, 5])
        return blend(*parameters, color, depth, p.background)[0]

    footprint = jnp.concatenate([mean2d, conic, jnp.log(opacity)[:, None]], -1)
    J, J_color = quick(jax.jacfwd(composite, (0, 1)))(footprint, color)  # (H, W, 3, N, 6), (H, W, 3, N, 3)
    S, w2 = p.information(implementation="reference")
    close(S, pack_symmetric(jnp.einsum("yx,yxcni,yxcnj->nij", p.weight, J, J)))
    close(w2, jnp.einsum("yx,yxcnd->n", p.weight, J_color**2) / 3)

    covariance = jnp.einsum("yxcni,nir,njr,yxdnj->yxcd", J, factor, factor, J)
    covariance += jnp.einsum("yxcni,n,yxdni->yxcd", J_color, color_var, J_color)
    covariance += ((1 - p.alpha) ** 2 * background_var)[..., None, None] * jnp.eye(3)
    whole = np.asarray(covariance / noise_var, np.float64)
    want = 0.5 * np.linalg.slogdet(np.eye(3) + whole)[1]
    np.testing.assert_allclose(p.eig(implementation="reference", mode="exact"), want, rtol=3e-4, atol=1e-4)
    want = 0.5 * np.trace(whole, axis1=-2, axis2=-1)
    np.testing.assert_allclose(p.eig(implementation="reference", mode="trace"), want, rtol=3e-4, atol=1e-4)


@functools.cache
def solved(spec):
    """Make a random problem and solve it with the specification, the same for all fast forms."""
    p = problem(spec)
    return p, p.information(implementation="reference"), p.eig(implementation="reference")


@pytest.mark.parametrize("spec", TEST_SPECS)
@pytest.mark.parametrize("implementation", ["xla", "pallas", pytest.param(None, marks=pytest.mark.gpu, id="device")])
def test_fast_forms_equal_the_specification(implementation, spec):
    p, (S, w2), want = solved(spec)
    S_fast, w2_fast = p.information(implementation=implementation)
    close(S_fast, S)
    close(w2_fast, w2)
    np.testing.assert_allclose(p.eig(implementation=implementation), want, rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "tile"), [("pallas", 8), ("pallas", 16), ("mosaic", 16)])
def test_kernels_equal_the_xla_walk_on_a_crowded_image(name, tile):
    p = problem(FisherSpec(20_000, 208, 128, tile), capacity=1 << 21)
    S, w2 = p.information(implementation="xla")
    S_kernel, w2_kernel = p.information(implementation=name)
    close(S_kernel, S, 1e-3)
    close(w2_kernel, w2, 1e-3)
    np.testing.assert_array_equal(p.information(implementation=name)[0], S_kernel)
    got, want = p.eig(implementation=name), p.eig(implementation="xla")
    # A pixel near the cut at 1/255 may fall on the other side of it.
    assert np.mean(np.isclose(got, want, rtol=2e-3, atol=2e-3)) > 0.995


@pytest.mark.parametrize("implementation", ["xla", "pallas"])
def test_culled_gaussians_may_carry_anything(implementation):
    p = problem(FisherSpec(14, 21, 19, 8))
    keep = jnp.arange(14) < 12  # the rest is culled, first with zeros and then with NaN

    def culled(tree, fill):
        return jax.tree.map(lambda v: jnp.where(keep.reshape(-1, *[1] * (v.ndim - 1)), v, fill), tree)

    clean = culled(p.projected._replace(extent=jnp.full((14, 2), 100.0), depth=jnp.arange(14.0)), 0)
    bins = bin_fast(clean, p.bins.grid, capacity=256)
    dirty = culled(clean, jnp.nan)._replace(opacity=clean.opacity)
    sums, maps = [], []
    for splats, fill in ((clean, 0.0), (dirty, jnp.nan)):
        factor, color_var = culled(p.uncertainty[:2], fill)
        run = p._replace(projected=splats, bins=bins, uncertainty=Uncertainty(factor, color_var, 0.01, 0.0))
        sums.append(run.information(implementation=implementation))
        maps.append(run.eig(implementation=implementation))
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(sums[0][0], sums[1][0])
    assert sums[0][0][:12].any() and not sums[0][0][12:].any() and not sums[0][1][12:].any()


def test_eig_is_exact_for_tiny_and_huge_covariances():
    rng = seeded_rng()
    factor = rng.normal(size=(200, 3, 3)) * 10.0 ** rng.uniform(-6, 6, (200, 1, 1))
    covariance = (factor @ factor.transpose(0, 2, 1)).astype(np.float32).astype(np.float64)
    values = np.linalg.eigvalsh(covariance).clip(0)
    M = pack_symmetric(jnp.asarray(covariance, jnp.float32))

    def eig(mode):
        return eig_of_covariance(M, jnp.ones(200), 1.0, 0.0, mode)

    np.testing.assert_allclose(eig("exact"), 0.5 * np.log1p(values).sum(-1), rtol=1e-3)
    np.testing.assert_allclose(eig("trace"), 0.5 * values.sum(-1), rtol=1e-4)
    assert (eig("exact") <= eig("trace") * (1 + 1e-6)).all()


def test_wrong_arguments_are_named():
    p = problem(FisherSpec(3, 20, 12, 8))
    with pytest.raises(ValueError, match=r"image has shape \(12, 20, 3\), but bins have height=12 and width=19"):
        p._replace(bins=p.bins._replace(grid=TileGrid(19, 12, 8))).information()
    with pytest.raises(ValueError, match="mode='bound'"):
        p.eig(mode="bound")


def shape_of(parameters):
    """Compute the footprint (mean2d, conic, log opacity) of mean 2, log-lengths of the axes 2, angle, log opacity."""
    angle, (long, short) = parameters[4], jnp.exp(-2 * parameters[2:4])
    c, s = jnp.cos(angle), jnp.sin(angle)
    conic = jnp.stack([long * c * c + short * s * s, (long - short) * c * s, long * s * s + short * c * c])
    return jnp.concatenate([parameters[:2], conic, parameters[5:]])


@pytest.mark.parametrize("implementation", ["reference", "xla", "pallas"])
def test_long_thin_footprints_do_not_cancel(implementation):
    rng = seeded_rng()
    count, grid = 6, TileGrid(40, 32)
    parameters = rng.uniform([10, 10, 4, -0.6, 0.3, -1.5], [30, 22, 5.3, -0.5, 1.3, -0.5], (count, 6))
    with jax.enable_x64(True):
        footprint, J = (np.asarray(jax.vmap(f)(parameters)) for f in (shape_of, jax.jacfwd(shape_of)))
    J = J * np.array([0.05, 0.05, 0.02, 0.5, 1e-3, 0.02])  # standard deviations: the thickness is very uncertain
    for mean, conic, log_opacity, jacobian in zip(*np.split(footprint, [2, 5], 1), J, strict=True):
        check_one_footprint(mean, conic, np.exp(log_opacity), jacobian, grid, implementation)


def check_one_footprint(mean, conic, opacity, jacobian, grid, implementation):
    """Compare both ops on a single white Gaussian with float64."""
    y, x = np.indices((grid.height, grid.width)) + 0.5
    dx, dy = mean[0] - x, mean[1] - y
    a, b, c = conic
    alpha = opacity * np.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
    sure = np.abs(alpha * 255 - 1) > 0.05  # pixels on which rounding cannot decide
    alpha = np.where(alpha * 255 > 1, alpha, 0)
    rows = [-a * dx - b * dy, -b * dx - c * dy, -dx * dx / 2, -dx * dy, -dy * dy / 2, np.ones_like(dx)]
    of_parameters = np.einsum("iyx,ij->jyx", alpha * np.stack(rows), jacobian)

    def single(x):
        return jnp.asarray(x, jnp.float32)

    color, image = jnp.ones((1, 3)), single(np.repeat(alpha[..., None], 3, -1))
    footprint = single(mean)[None], single(conic)[None], single(opacity)
    splat = Projected(*footprint, depth=jnp.ones(1), extent=jnp.full((1, 2), 100.0), color=color)
    inputs = splat, color, bin_fast(splat, grid, capacity=64), image
    S, _ = fisher_fast(*inputs, single(sure), single(jacobian)[None], implementation=implementation)
    want = 3 * np.einsum("iyx,jyx,yx->ij", of_parameters, of_parameters, sure)
    unit = np.sqrt(np.diag(want))
    np.testing.assert_allclose(unpack_symmetric(S, 6)[0] / np.outer(unit, unit), want / np.outer(unit, unit), atol=3e-3)

    uncertainty = Uncertainty(single(jacobian)[None], jnp.zeros(1), noise_var=1e-4, background_var=0.0)
    eig = functools.partial(eig_map_fast, *inputs, image[..., 0], uncertainty, implementation=implementation)
    got = eig(mode="trace")
    want = 1.5e4 * np.sum(of_parameters**2, 0)
    np.testing.assert_allclose(got[sure], want[sure], rtol=0.03, atol=2e-3 * want.max())
    assert np.isfinite(eig(mode="exact")).all()
