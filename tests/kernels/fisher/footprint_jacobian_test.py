"""The Jacobian of the footprint, and the kernels that do not store it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import Bins, ProjectionOptions, TileGrid, ViewGeometry, project
from kernels.fisher import quadratic_forms, quadratic_forms_gpu
from kernels.fisher.footprint_jacobian import footprint_jacobian
from kernels.project.specs import SceneSpec, make_scene, scene_records
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

SPEC = SceneSpec(150, 97, 55, max_scale=0.3)
DEVICES = [True, pytest.param(False, marks=pytest.mark.gpu)]


def problem(antialiased: bool, rng) -> tuple[ViewGeometry, np.ndarray]:
    """Make random Gaussians in front of a camera, some of them invalid; return which are visible."""
    scene = make_scene(SPEC, rng)
    scene["means"][3], scene["scales"][4], scene["quats"][5] = np.nan, np.inf, 0
    options = ProjectionOptions(SPEC.width, SPEC.height, antialiased)
    geometry = ViewGeometry(*jax.tree.map(jnp.asarray, scene_records(scene)), options)
    return geometry, np.asarray(project(*geometry, implementation="reference").opacity > 0)


def footprint(geometry: ViewGeometry) -> np.ndarray:
    p = project(*geometry, implementation="reference")
    return np.concatenate([p.mean2d, p.conic, jnp.log(jnp.where(p.opacity > 0, p.opacity, 1))[:, None]], -1)


@pytest.mark.parametrize("antialiased", [False, True])
def test_jacobian_is_that_of_the_projection(antialiased):
    """Finite differences in float64, along every parameter."""
    geometry, visible = problem(antialiased, seeded_rng())
    L = np.asarray(jax.jit(footprint_jacobian)(geometry))
    assert np.all(L[~visible] == 0) and visible.sum() > 20
    with jax.enable_x64(True):
        double = jax.tree.map(lambda x: jnp.asarray(np.asarray(x, np.float64)), geometry)
        exact = double.gaussians
        w, x, y, z = np.asarray(exact.quats).T
        rotations = np.stack([[-x, w, z, -y], [-y, -z, w, x], [-z, y, -x, w]], 0).transpose(2, 0, 1)
        axes = np.stack(
            [
                np.stack([w * w + x * x - y * y - z * z, 2 * (x * y + w * z), 2 * (x * z - w * y)], -1),
                np.stack([2 * (x * y - w * z), w * w - x * x + y * y - z * z, 2 * (y * z + w * x)], -1),
                np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), w * w - x * x - y * y + z * z], -1),
            ],
            1,
        )
        logit = np.log(exact.opacities / (1 - exact.opacities))
        for k in range(10):
            step = {}
            for sign in (1e-6, -1e-6):
                changed = {
                    "means": exact.means + sign * axes[:, k] if k < 3 else exact.means,
                    "quats": exact.quats + sign / 2 * rotations[:, k - 3] if 3 <= k < 6 else exact.quats,
                    "scales": exact.scales * np.exp(sign * (np.arange(3) == k - 6)),
                    "opacities": 1 / (1 + np.exp(-(logit + sign * (k == 9)))),
                }
                moved = exact._replace(**{n: jnp.asarray(v) for n, v in changed.items()})
                step[sign] = footprint(double._replace(gaussians=moved))
            expected = (step[1e-6] - step[-1e-6]) / 2e-6
            scale = np.abs(L[visible]).max(-1)  # derivatives that cancel have the error of the largest one
            assert np.all(np.abs(L[visible, :, k] - expected[visible]) < 1e-3 * scale + 1e-5), k


def bins_of(visible: np.ndarray) -> Bins:
    """Make lists with one entry of every visible Gaussian, these front to back in any order."""
    count = len(visible)
    order = np.argsort(~visible, kind="stable")
    order[: visible.sum()] = seeded_rng().permutation(order[: visible.sum()])
    last = np.cumsum(visible[order])
    arrays = np.zeros(count), np.zeros(2), np.zeros(count), order, last - visible[order], last, visible.sum()
    return Bins(*(jnp.asarray(x, jnp.int32) for x in arrays), TileGrid(16, 16))


@pytest.mark.parametrize("interpret", DEVICES)
def test_kernels_give_what_the_stored_jacobian_gives(interpret):
    rng = seeded_rng()
    geometry, visible = problem(True, rng)
    gaussians = geometry.gaussians._replace(sh=jnp.zeros((len(visible), 1, 3)))
    p = project(gaussians, geometry.camera, geometry.options, implementation="reference")
    L = footprint_jacobian(geometry)
    whitener = jnp.where(visible[:, None], quadratic_forms.whitening(p.conic), jnp.array([1.0, 0.0, 1.0]))
    factor = jnp.triu(jnp.asarray(rng.normal(size=(len(visible), 10, 10)), jnp.float32))
    sums = jnp.asarray(rng.normal(size=(len(visible), 16)), jnp.float32)
    spread = jnp.einsum("nki,nij->nkj", L, factor, precision="highest")
    total = jnp.asarray(rng.normal(size=(len(visible), 55)), jnp.float32)
    listed = visible & (rng.random(len(visible)) < 0.5)
    assert listed.sum() < len(visible) - quadratic_forms_gpu.BLOCK, "some programs have nothing to do"
    add = jax.jit(functools.partial(quadratic_forms_gpu.add_precision, interpret=interpret))
    result = add(total, -1.0, geometry, sums, bins_of(listed))
    np.testing.assert_array_equal(result[~listed], total[~listed])
    quartic = jax.jit(functools.partial(quadratic_forms_gpu.quartic_coefficients, interpret=interpret))
    pairs = [
        (quartic(geometry, factor), quadratic_forms.quartic_coefficients(spread, whitener), visible),
        (total - result, quadratic_forms.from_moments(sums[:, :15], whitener, L), listed),
    ]
    for got, expected, rows in pairs:
        got, expected = np.asarray(got), np.asarray(expected)
        assert np.all(got[~rows] == 0)
        error = np.abs(got - expected)[rows] / np.abs(expected[rows]).max(1, keepdims=True)
        # A GPU divides and takes roots to a few units in the last place; long thin footprints amplify them.
        assert error.max() <= 1e-4, error.max()
