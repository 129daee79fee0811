"""What counts as evidence: huge ranges of precision, the background, and views that were only painted."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax import eig
from ff_jax.eig.ray_jacobians import ray_jacobians
from ff_jax.render.camera import make_camera
from ff_jax.render.gaussians import Gaussians
from ff_jax.render.renderer import RenderSettings, render
from kernels.fisher.information_gain import unpack

W, H, N, NOISE = 12, 10, 6, 0.05
SETTINGS = RenderSettings(capacity=256, tile=8, implementation="xla")
BACKGROUND = jnp.full((H, W, 3), 0.4)
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def camera(x=0.0):
    pose = np.eye(4)
    pose[0, 3] = x
    return make_camera(np.array([[11.0, 0, W / 2], [0, 11.0, H / 2], [0, 0, 1]]), pose, W, H)


@pytest.fixture(scope="module")
def seed():
    return int(np.random.default_rng().integers(1 << 31))


@pytest.fixture(scope="module")
def scene(seed):
    """Overlapping Gaussians with free space around them."""
    rng = np.random.default_rng(seed)
    fields = dict(
        means=rng.uniform([-0.9, -0.8, 3], [0.9, 0.8, 6], (N, 3)),
        quats=rng.normal(size=(N, 4)),
        log_scales=rng.uniform(np.log(0.15), np.log(0.4), (N, 3)),
        logit_opacities=rng.uniform(-1, 2, N),
        sh=rng.normal(0, 0.1, (N, 1, 3)) + 0.4,
    )
    return Gaussians(**{k: jnp.asarray(v, jnp.float32) for k, v in fields.items()}), jnp.ones(N, bool)


@quick
def observe(precision, gaussians, alive, cam, noise, sign):
    out = render(gaussians, alive, cam, SETTINGS, background=BACKGROUND)
    arguments = precision, gaussians, alive, cam, out.rgb, SETTINGS
    return eig.accumulate(*arguments, noise=noise, alpha=out.alpha, sign=sign)


believe = quick(eig.posterior, static_argnames=("priors", "structure"))


@quick
def gain(gaussians, alive, posterior, cam):
    out = render(gaussians, alive, cam, SETTINGS, background=BACKGROUND)
    return eig.eig_map(gaussians, alive, posterior, cam, out.rgb, out.alpha, SETTINGS, noise=NOISE)


@quick
def jacobian(gaussians, alive, cam):
    y, x = jnp.indices((H, W)) + 0.5
    pixels = jnp.stack([x, y], -1).reshape(-1, 2)
    return ray_jacobians(gaussians, alive, cam, pixels, SETTINGS, BACKGROUND.reshape(-1, 3))[1]


def test_precision_and_map_hold_over_twelve_orders_of_magnitude(scene, seed):
    gaussians, alive = scene
    views = [(camera(-0.4), 1e-4), (camera(0.0), 1e-1), (camera(0.4), 1e2)]  # 1 / noise^2: 1e8 to 1e-4
    precision, geometry, color = eig.init_precision(gaussians), 0.0, 0.0
    for cam, noise in views:
        precision = observe(precision, gaussians, alive, cam, noise, 1.0)
        J = jax.tree.map(lambda x: np.asarray(x, np.float64), jacobian(gaussians, alive, cam))
        geometry += np.einsum("pcni,pcnj->nij", J.geometry, J.geometry) / noise**2
        color += np.einsum("pcnkd,pcnld->nkl", J.sh, J.sh) / 3 / noise**2
    scale = np.sqrt(np.einsum("nii,njj->nij", geometry, geometry))
    got = np.asarray(unpack(precision.geometry, 10), np.float64)
    np.testing.assert_allclose(got / scale, geometry / scale, atol=2e-4, err_msg=f"{seed=}")
    np.testing.assert_allclose(unpack(precision.color, 1), color, rtol=1e-3, err_msg=f"{seed=}")

    priors = eig.Priors(background=0.0)
    posterior = believe(precision, priors, gaussians)
    new = camera(0.2)
    std = np.exp(np.asarray(gaussians.log_scales, np.float64).max(-1, keepdims=True)) * np.ones(3)
    fixed = [priors.rotation] * 3 + [priors.log_scale] * 3 + [priors.logit_opacity]
    std = np.concatenate([std, np.tile(fixed, (N, 1))], -1)
    sigma = np.linalg.inv(geometry + std[:, :, None] ** -2 * np.eye(10))
    sigma_sh = 1 / (color[:, 0, 0] + (priors.color * np.sqrt(4 * np.pi)) ** -2)
    J = jax.tree.map(lambda x: np.asarray(x, np.float64), jacobian(gaussians, alive, new))
    covariance = np.einsum("pcni,nij,pdnj->pcd", J.geometry, sigma, J.geometry)
    covariance += np.einsum("pcnke,n,pdnke->pcd", J.sh, sigma_sh, J.sh)
    want = 0.5 * np.linalg.slogdet(np.eye(3) + covariance / NOISE**2)[1]
    got = np.asarray(gain(gaussians, alive, posterior, new), np.float64).reshape(-1)
    np.testing.assert_allclose(got, want, rtol=0.05, atol=0.02, err_msg=f"{seed=}")


def test_the_background_becomes_known_only_where_it_was_seen_and_never_less(scene, seed):
    gaussians, alive = scene
    precision, last = eig.init_precision(gaussians), None
    for cam in (None, camera(-0.4), camera(0.0), camera(0.4)):
        if cam is not None:
            precision = observe(precision, gaussians, alive, cam, NOISE, 1.0)
        shown = gain(gaussians, alive, believe(precision, eig.Priors(), gaussians), camera(0.2))
        assert last is None or (shown <= last + 1e-4).all(), seed
        last = shown
    corner = float(last[0, 0])  # free space, seen in three views
    assert corner < 1.5 * np.log1p(1.0), (seed, corner)
    back = observe(precision, gaussians, alive, camera(0.4), NOISE, -1.0)
    again = observe(back, gaussians, alive, camera(0.4), NOISE, 1.0)
    np.testing.assert_allclose(again.background, precision.background, rtol=1e-5, atol=1e-3)


def test_painted_views_have_an_accumulator_of_their_own(scene):
    """A pseudo-view that is never added to the recorded precision leaves the map alone; its noise sets its worth."""
    gaussians, alive = scene
    recorded = observe(eig.init_precision(gaussians), gaussians, alive, camera(0.0), NOISE, 1.0)
    painted = observe(eig.init_precision(gaussians), gaussians, alive, camera(0.4), 10 * NOISE, 1.0)
    seen = observe(eig.init_precision(gaussians), gaussians, alive, camera(0.4), NOISE, 1.0)
    np.testing.assert_allclose(100 * painted.geometry, seen.geometry, rtol=1e-4, atol=1e-3)
    show = lambda precision: gain(gaussians, alive, believe(precision, eig.Priors(), gaussians), camera(0.4))
    both = jax.tree.map(jnp.add, recorded, painted)
    believed, trusted = show(both), show(jax.tree.map(jnp.add, recorded, seen))
    assert float(show(recorded).sum()) > float(believed.sum()) > float(trusted.sum())
