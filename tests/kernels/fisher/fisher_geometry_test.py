"""The Jacobian of the footprint and the kernels that never store it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.bin_tiles import Bins
from kernels.fisher import quadratic_forms, quadratic_forms_gpu
from kernels.fisher.footprint_jacobian import Geometry, jacobian
from kernels.project import project
from kernels.project.reference import Options
from kernels.project.specs import SceneSpec, make_scene

SPEC = SceneSpec(150, 97, 55, max_scale=0.3)
DEVICES = [True, pytest.param(False, marks=pytest.mark.gpu)]


def problem(antialiased: bool, rng) -> tuple[Geometry, np.ndarray]:
    """Return random Gaussians before a camera, some of which cannot be worked with, and which are seen."""
    scene = make_scene(SPEC, rng)
    scene["means"][3], scene["scales"][4], scene["quats"][5] = np.nan, np.inf, 0
    scene = {name: jnp.asarray(array) for name, array in scene.items()}
    names = ("means", "quats", "scales", "opacities", "camera_from_world", "K")
    options = Options(SPEC.width, SPEC.height, antialiased, 0.2, 0.3)
    size = {"width": SPEC.width, "height": SPEC.height}
    projected = project(**scene, **size, antialiased=antialiased, implementation="reference")
    return Geometry(*(jnp.asarray(scene[name]) for name in names), options), np.asarray(projected.opacity > 0)


def footprint(geometry: Geometry) -> np.ndarray:
    means, quats, scales, opacities, *camera, o = geometry
    sh = jnp.zeros((means.shape[0], 1, 3), means.dtype)
    p = project(means, quats, scales, opacities, sh, *camera, **o._asdict(), implementation="reference")
    return np.concatenate([p.mean2d, p.conic, jnp.log(jnp.where(p.opacity > 0, p.opacity, 1))[:, None]], -1)


@pytest.mark.parametrize("antialiased", [False, True])
def test_jacobian_is_that_of_the_projection(antialiased):
    """Finite differences in float64, along every parameter."""
    geometry, seen = problem(antialiased, np.random.default_rng())
    L = np.asarray(jax.jit(lambda g: jacobian(g._replace(options=geometry.options)))(geometry._replace(options=None)))
    assert np.all(L[~seen] == 0) and seen.sum() > 20
    with jax.enable_x64(True):
        exact = Geometry(*(jnp.asarray(np.asarray(x, np.float64)) for x in geometry[:6]), geometry.options)
        w, x, y, z = np.asarray(exact.quats).T
        turns = np.stack([[-x, w, z, -y], [-y, -z, w, x], [-z, y, -x, w]], 0).transpose(2, 0, 1)
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
                    "quats": exact.quats + sign / 2 * turns[:, k - 3] if 3 <= k < 6 else exact.quats,
                    "scales": exact.scales * np.exp(sign * (np.arange(3) == k - 6)),
                    "opacities": 1 / (1 + np.exp(-(logit + sign * (k == 9)))),
                }
                step[sign] = footprint(exact._replace(**{n: jnp.asarray(v) for n, v in changed.items()}))
            wanted = (step[1e-6] - step[-1e-6]) / 2e-6
            scale = np.abs(L[seen]).max(-1)  # a derivative that cancels is as wrong as its largest sister
            assert np.all(np.abs(L[seen, :, k] - wanted[seen]) < 1e-3 * scale + 1e-5), k


def lists_of(seen: np.ndarray) -> Bins:
    """Return lists with one entry of every Gaussian that is seen, these front to back in any order."""
    count = len(seen)
    order = np.argsort(~seen, kind="stable")
    order[: seen.sum()] = np.random.default_rng().permutation(order[: seen.sum()])
    last = np.cumsum(seen[order])
    arrays = np.zeros(count), np.zeros(2), np.zeros(count), order, last - seen[order], last, seen.sum()
    return Bins(*(jnp.asarray(x, jnp.int32) for x in arrays))


@pytest.mark.parametrize("interpret", DEVICES)
def test_kernels_give_what_the_stored_jacobian_gives(interpret):
    rng = np.random.default_rng()
    geometry, seen = problem(True, rng)
    p = project(
        *geometry[:4],
        jnp.zeros((len(seen), 1, 3)),
        *geometry[4:6],
        **geometry.options._asdict(),
        implementation="reference",
    )
    L = jacobian(geometry)
    whitener = jnp.where(seen[:, None], quadratic_forms.whitening(p.conic), jnp.array([1.0, 0.0, 1.0]))
    factor = jnp.triu(jnp.asarray(rng.normal(size=(len(seen), 10, 10)), jnp.float32))
    sums = jnp.asarray(rng.normal(size=(len(seen), 16)), jnp.float32)
    spread = jnp.einsum("nki,nij->nkj", L, factor, precision="highest")
    run = lambda kernel, rows: jax.jit(functools.partial(kernel, geometry, interpret=interpret))(rows)
    onto = jnp.asarray(rng.normal(size=(len(seen), 55)), jnp.float32)
    listed = seen & (rng.random(len(seen)) < 0.5)
    assert listed.sum() < len(seen) - quadratic_forms_gpu.BLOCK, "some programs have nothing to do"
    known = jax.jit(functools.partial(quadratic_forms_gpu.add_precision, geometry=geometry, interpret=interpret))(
        onto, -1.0, sums=sums, bins=lists_of(listed)
    )
    np.testing.assert_array_equal(known[~listed], onto[~listed])
    pairs = [
        (run(quadratic_forms_gpu.quartic, factor), quadratic_forms.quartic_of(spread, whitener), seen),
        (onto - known, quadratic_forms.from_moments(sums[:, :15], whitener, L), listed),
    ]
    for got, wanted, told in pairs:
        got, wanted = np.asarray(got), np.asarray(wanted)
        assert np.all(got[~told] == 0)
        error = np.abs(got - wanted)[told] / np.abs(wanted[told]).max(1, keepdims=True)
        # A GPU divides and takes roots to a few units in the last place; long thin footprints amplify them.
        assert error.max() <= 1e-4, error.max()
