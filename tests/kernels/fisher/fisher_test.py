"""The Fisher kernels against their specification, and the specification against autodiff."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.bin_tiles import bin_tiles
from kernels.fisher import accumulate, eig_map
from kernels.fisher.information_gain import information_gain, pack, unpack
from kernels.fisher.specs import TEST_SPECS, Spec

STATIC = ("width", "height", "tile", "implementation")
# Most problems are tiny: on a CPU, compiling is what takes time.
QUICK = None if jax.default_backend() == "gpu" else {"xla_backend_optimization_level": 0}
quick = functools.partial(jax.jit, compiler_options=QUICK)
accumulate_fast = quick(accumulate, static_argnames=STATIC)
eig_map_fast = quick(eig_map, static_argnames=(*STATIC, "mode"))
bin_fast = quick(bin_tiles, static_argnames=("width", "height", "tile", "capacity"))


def splats(rng, spec):
    """Random footprints: round and long thin ones, opaque and faint, some of them off the image."""
    n = spec.count
    angle, sizes = rng.uniform(0, np.pi, n), np.exp(rng.normal(1.0, 0.8, (n, 2)))
    axes = np.stack([np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], -2)
    covariance = np.einsum("nij,nj,nkj->nik", axes, sizes**2, axes) + 0.3 * np.eye(2)
    inverse = np.linalg.inv(covariance) if n else np.zeros((0, 2, 2))
    opacity = rng.uniform(0.02, 0.98, n)
    reach = np.sqrt(2 * np.log(np.maximum(opacity * 255, 1)))
    return dict(
        mean2d=rng.uniform(-5, [spec.width + 5, spec.height + 5], (n, 2)),
        conic=np.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], -1),
        opacity=opacity,
        extent=reach[:, None] * np.sqrt(np.stack([covariance[:, 0, 0], covariance[:, 1, 1]], -1)),
        depth=rng.uniform(1, 9, n),
        color=rng.uniform(0, 1, (n, 3)),
    )


def blend(mean2d, conic, opacity, color, depth, background):
    """Compose every Gaussian over every pixel, one after the other, and return the image and alpha."""
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


def problem(spec, capacity=4096):
    """Everything both ops take, as float32 arrays."""
    rng = np.random.default_rng()
    scene = {k: jnp.asarray(v, jnp.float32) for k, v in splats(rng, spec).items()}
    size = dict(width=spec.width, height=spec.height, tile=spec.tile)
    color = scene.pop("color")
    bins = bin_fast(**scene, **size, capacity=capacity)
    background = jnp.asarray(rng.uniform(0, 1, (spec.height, spec.width, 3)), jnp.float32)
    image, alpha = quick(blend)(scene["mean2d"], scene["conic"], scene["opacity"], color, scene["depth"], background)
    factor = rng.normal(size=(spec.count, 6, 6)) * np.array([1, 1, 0.1, 0.1, 0.1, 1])[:, None]
    factor = jnp.asarray(factor, jnp.float32)
    given = dict(mean2d=scene["mean2d"], conic=scene["conic"], opacity=scene["opacity"], features=color, bins=bins)
    weight = jnp.asarray(rng.uniform(0, 2, alpha.shape), jnp.float32)
    q = jnp.asarray(rng.uniform(0, 1, spec.count), jnp.float32)
    return given, size, image, alpha, weight, factor, q, background, scene["depth"]


def close(got, want, tolerance=2e-4):
    """Relative to the largest entry of each column: sums of squares span many orders of magnitude."""
    scale = np.abs(want).max(0, keepdims=True, initial=1e-6)
    np.testing.assert_allclose(got / scale, want / scale, atol=tolerance)


def test_specification_is_the_jacobian_of_the_image():
    given, size, image, alpha, weight, factor, q, background, depth = problem(Spec(6, 20, 12, 16))

    def composite(footprint, color):
        return blend(footprint[:, :2], footprint[:, 2:5], jnp.exp(footprint[:, 5]), color, depth, background)[0]

    footprint = jnp.concatenate([given["mean2d"], given["conic"], jnp.log(given["opacity"])[:, None]], -1)
    J, J_color = quick(jax.jacfwd(composite, (0, 1)))(footprint, given["features"])  # (H, W, 3, N, 6), (H, W, 3, N, 3)
    S, w2 = accumulate_fast(**given, **size, image=image, weight=weight, implementation="reference")
    close(S, pack(jnp.einsum("yx,yxcni,yxcnj->nij", weight, J, J)))
    close(w2, jnp.einsum("yx,yxcnd->n", weight, J_color**2) / 3)

    noise_var, background_var = 0.01, 0.09
    covariance = jnp.einsum("yxcni,nir,njr,yxdnj->yxcd", J, factor, factor, J)
    covariance += jnp.einsum("yxcni,n,yxdni->yxcd", J_color, q, J_color)
    covariance += ((1 - alpha) ** 2 * background_var)[..., None, None] * jnp.eye(3)
    whole = np.asarray(covariance / noise_var, np.float64)
    run = dict(**given, **size, image=image, alpha=alpha, factor=factor, q=q, implementation="reference")
    run |= dict(noise_var=noise_var, background_var=background_var)
    want = 0.5 * np.linalg.slogdet(np.eye(3) + whole)[1]
    np.testing.assert_allclose(eig_map_fast(**run, mode="exact"), want, rtol=3e-4, atol=1e-4)
    want = 0.5 * np.trace(whole, axis1=-2, axis2=-1)
    np.testing.assert_allclose(eig_map_fast(**run, mode="trace"), want, rtol=3e-4, atol=1e-4)


@functools.cache
def solved(spec):
    """A random problem and what the specification makes of it, the same for all fast forms."""
    given, size, image, alpha, weight, factor, q, *_ = problem(spec)
    of_view = dict(**given, **size, image=image, weight=weight)
    of_map = dict(**given, **size, image=image, alpha=alpha, factor=factor, q=q, noise_var=0.01, background_var=0.09)
    sums = accumulate_fast(**of_view, implementation="reference")
    return of_view, of_map, sums, eig_map_fast(**of_map, implementation="reference")


@pytest.mark.parametrize("spec", TEST_SPECS)
@pytest.mark.parametrize("implementation", ["xla", "pallas", pytest.param(None, marks=pytest.mark.gpu, id="device")])
def test_fast_forms_equal_the_specification(implementation, spec):
    of_view, of_map, (S, w2), want = solved(spec)
    S_fast, w2_fast = accumulate_fast(**of_view, implementation=implementation)
    close(S_fast, S)
    close(w2_fast, w2)
    got = eig_map_fast(**of_map, implementation=implementation)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "tile"), [("pallas", 8), ("pallas", 16), ("mosaic", 16)])
def test_kernels_equal_the_xla_walk_on_a_crowded_image(name, tile):
    given, size, image, alpha, weight, factor, q, *_ = problem(Spec(20_000, 208, 128, tile), capacity=1 << 21)
    S, w2 = accumulate_fast(**given, **size, image=image, weight=weight, implementation="xla")
    S_kernel, w2_kernel = accumulate_fast(**given, **size, image=image, weight=weight, implementation=name)
    close(S_kernel, S, 1e-3)
    close(w2_kernel, w2, 1e-3)
    again = accumulate_fast(**given, **size, image=image, weight=weight, implementation=name)
    np.testing.assert_array_equal(again[0], S_kernel)
    arguments = dict(**given, **size, image=image, alpha=alpha, factor=factor, q=q, noise_var=0.01, background_var=0.09)
    want = eig_map_fast(**arguments, implementation="xla")
    got = eig_map_fast(**arguments, implementation=name)
    # A pixel near the cut at 1/255 may fall on the other side of it.
    assert np.mean(np.isclose(got, want, rtol=2e-3, atol=2e-3)) > 0.995


@pytest.mark.parametrize("implementation", ["xla", "pallas"])
def test_culled_gaussians_may_carry_anything(implementation):
    given, size, image, alpha, weight, factor, q, *_ = problem(Spec(14, 21, 19, 8))
    keep = jnp.arange(14) < 12  # the rest is culled, first with clean and then with any numbers
    clean = {k: jnp.where(keep if v.ndim == 1 else keep[:, None], v, 0) for k, v in given.items() if k != "bins"}
    everywhere = jnp.tile(jnp.array([[100.0, 100.0]]), (14, 1))
    bins = bin_fast(
        clean["mean2d"],
        clean["conic"],
        clean["opacity"],
        jnp.where(keep[:, None], everywhere, 0),
        jnp.arange(14.0),
        **size,
        capacity=256,
    )
    dirty = {k: jnp.where(keep if v.ndim == 1 else keep[:, None], v, jnp.nan) for k, v in clean.items()}
    dirty["opacity"] = clean["opacity"]
    sums, maps = [], []
    for splats, junk in ((clean, 0.0), (dirty, jnp.nan)):
        run = dict(**splats, **size, bins=bins, image=image, implementation=implementation)
        sums.append(accumulate_fast(**run, weight=weight))
        covariances = dict(factor=jnp.where(keep[:, None, None], factor, junk), q=jnp.where(keep, q, junk))
        maps.append(eig_map_fast(**run, **covariances, alpha=alpha, noise_var=0.01, background_var=0.0))
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(sums[0][0], sums[1][0])
    assert sums[0][0][:12].any() and not sums[0][0][12:].any() and not sums[0][1][12:].any()


def test_gain_is_exact_for_tiny_and_huge_covariances():
    rng = np.random.default_rng()
    factor = rng.normal(size=(200, 3, 3)) * 10.0 ** rng.uniform(-6, 6, (200, 1, 1))
    covariance = (factor @ factor.transpose(0, 2, 1)).astype(np.float32).astype(np.float64)
    values = np.linalg.eigvalsh(covariance).clip(0)
    M = pack(jnp.asarray(covariance, jnp.float32))

    def gain(mode):
        return information_gain(M, jnp.ones(200), 1.0, 0.0, mode)

    np.testing.assert_allclose(gain("exact"), 0.5 * np.log1p(values).sum(-1), rtol=1e-3)
    np.testing.assert_allclose(gain("trace"), 0.5 * values.sum(-1), rtol=1e-4)
    assert (gain("exact") <= gain("trace") * (1 + 1e-6)).all()


def test_wrong_arguments_are_named():
    given, size, image, alpha, weight, factor, q, *_ = problem(Spec(3, 20, 12, 8))
    with pytest.raises(ValueError, match=r"image has shape \(12, 20, 3\), but height=12 and width=19"):
        accumulate(**given, **(size | {"width": 19}), image=image, weight=weight)
    with pytest.raises(ValueError, match="tile=16"):
        accumulate(**given, **(size | {"tile": 16}), image=image, weight=weight)
    with pytest.raises(ValueError, match="mode='bound'"):
        eig_map(
            **given,
            **size,
            image=image,
            alpha=alpha,
            factor=factor,
            q=q,
            noise_var=1.0,
            background_var=0.0,
            mode="bound",
        )


def shape_of(parameters):
    """Footprint (mean2d, conic, log opacity) of mean 2, log-lengths of the axes 2, angle, log opacity."""
    angle, (long, short) = parameters[4], jnp.exp(-2 * parameters[2:4])
    c, s = jnp.cos(angle), jnp.sin(angle)
    conic = jnp.stack([long * c * c + short * s * s, (long - short) * c * s, long * s * s + short * c * c])
    return jnp.concatenate([parameters[:2], conic, parameters[5:]])


@pytest.mark.parametrize("implementation", ["reference", "xla", "pallas"])
def test_long_thin_footprints_do_not_cancel(implementation):
    rng = np.random.default_rng()
    count, size = 6, dict(width=40, height=32, tile=16)
    parameters = rng.uniform([10, 10, 4, -0.6, 0.3, -1.5], [30, 22, 5.3, -0.5, 1.3, -0.5], (count, 6))
    with jax.enable_x64(True):
        footprint, J = (np.asarray(jax.vmap(f)(parameters)) for f in (shape_of, jax.jacfwd(shape_of)))
    J = J * np.array([0.05, 0.05, 0.02, 0.5, 1e-3, 0.02])  # standard deviations: the thickness is hardly known
    for mean, conic, log_opacity, jacobian in zip(*np.split(footprint, [2, 5], 1), J, strict=True):
        check_one_footprint(mean, conic, np.exp(log_opacity), jacobian, size, implementation)


def check_one_footprint(mean, conic, opacity, jacobian, size, implementation):
    """Compare both ops on a single white Gaussian with float64."""
    y, x = np.indices((size["height"], size["width"])) + 0.5
    dx, dy = mean[0] - x, mean[1] - y
    a, b, c = conic
    alpha = opacity * np.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
    sure = np.abs(alpha * 255 - 1) > 0.05  # neither in nor out for rounding
    alpha = np.where(alpha * 255 > 1, alpha, 0)
    rows = [-a * dx - b * dy, -b * dx - c * dy, -dx * dx / 2, -dx * dy, -dy * dy / 2, np.ones_like(dx)]
    of_parameters = np.einsum("iyx,ij->jyx", alpha * np.stack(rows), jacobian)

    single = lambda x: jnp.asarray(x, jnp.float32)
    given = dict(mean2d=single(mean)[None], conic=single(conic)[None], opacity=single(opacity))
    bins = bin_fast(**given, extent=jnp.full((1, 2), 100.0), depth=jnp.ones(1), **size, capacity=64)
    image = single(np.repeat(alpha[..., None], 3, -1))
    given |= dict(features=jnp.ones((1, 3)), bins=bins, image=image, implementation=implementation, **size)
    S, _ = accumulate_fast(**given, weight=single(sure), jacobian=single(jacobian)[None])
    want = 3 * np.einsum("iyx,jyx,yx->ij", of_parameters, of_parameters, sure)
    unit = np.sqrt(np.diag(want))
    np.testing.assert_allclose(unpack(S, 6)[0] / np.outer(unit, unit), want / np.outer(unit, unit), atol=3e-3)

    uncertain = dict(factor=single(jacobian)[None], q=jnp.zeros(1), noise_var=1e-4, background_var=0.0)
    got = eig_map_fast(**given, **uncertain, alpha=image[..., 0], mode="trace")
    want = 1.5e4 * np.sum(of_parameters**2, 0)
    np.testing.assert_allclose(got[sure], want[sure], rtol=0.03, atol=2e-3 * want.max())
    assert np.isfinite(eig_map_fast(**given, **uncertain, alpha=image[..., 0], mode="exact")).all()
