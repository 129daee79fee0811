"""Random probes through the rasterizer against the analytic maps, for block and diagonal posteriors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax import eig
from ff_jax.eig import stochastic
from ff_jax.render.camera import make_camera
from ff_jax.render.gaussians import Gaussians
from ff_jax.render.renderer import RenderSettings, render
from kernels.fisher.information_gain import unpack

W, H, N, NOISE, PROBES = 33, 26, 20, 0.05, 200
SETTINGS = RenderSettings(capacity=1024, tile=8, implementation="xla")
BACKGROUND = jnp.broadcast_to(jnp.array([0.2, 0.5, 0.9]), (H, W, 3))
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
CAMERA = make_camera(np.array([[30.0, 0, W / 2], [0, 30.0, H / 2], [0, 0, 1]]), np.eye(4), W, H)


@pytest.fixture(scope="module")
def seed():
    return int(np.random.default_rng().integers(1 << 31))


@pytest.fixture(scope="module")
def scene(seed):
    """Overlapping Gaussians with colours away from the cut at 0, and what one look tells about them."""
    rng = np.random.default_rng(seed)
    fields = dict(
        means=rng.uniform([-1.5, -1.2, 3], [1.5, 1.2, 6], (N, 3)),
        quats=rng.normal(size=(N, 4)),
        log_scales=rng.uniform(np.log(0.1), np.log(0.5), (N, 3)),
        logit_opacities=rng.uniform(-1, 2, N),
        sh=rng.normal(0, 0.08, (N, 4, 3)) + 0.4 * (np.arange(4) == 0)[:, None],
    )
    gaussians, alive = Gaussians(**{k: jnp.asarray(v, jnp.float32) for k, v in fields.items()}), jnp.ones(N, bool)

    @quick
    def told():
        out = render(gaussians, alive, CAMERA, SETTINGS, background=BACKGROUND)
        empty = eig.init_precision(gaussians)
        arguments = empty, gaussians, alive, CAMERA, out.rgb, SETTINGS
        return out, eig.accumulate(*arguments, noise=NOISE, alpha=out.alpha)

    return gaussians, alive, *told()


def within(mean, error, want, seed):
    """The probes' mean lies within 3 standard errors nearly everywhere, and nowhere absurdly far."""
    z = np.abs(np.asarray(mean - want)) / np.asarray(error + 1e-4 * np.abs(want) + 1e-9)
    assert np.mean(z < 3) > 0.97 and z.max() < 8, (seed, np.mean(z < 3), z.max())


@pytest.mark.parametrize("structure", ["block", "diag"])
def test_trace_map_is_the_mean_of_squared_forward_probes(scene, seed, structure):
    gaussians, alive, out, precision = scene
    believe = quick(eig.posterior, static_argnames=("priors", "structure"))
    posterior = believe(precision, eig.Priors(), gaussians, structure=structure)
    view = gaussians, alive, posterior, CAMERA
    estimate = quick(stochastic.trace_map, static_argnames=("settings", "probes"))
    mean, error = estimate(jax.random.key(seed), *view, BACKGROUND, SETTINGS, noise=NOISE, probes=PROBES)
    want = eig.eig_map(*view, out.rgb, out.alpha, SETTINGS, noise=NOISE, mode="trace")
    within(mean, error, want, seed)


def test_precision_has_the_diagonal_of_squared_backward_probes(scene, seed):
    gaussians, alive, _, precision = scene
    estimate = quick(stochastic.fisher_diagonal, static_argnames=("settings", "probes"))
    view = gaussians, alive, CAMERA, BACKGROUND, SETTINGS
    mean, error = estimate(jax.random.key(seed), *view, noise=NOISE, probes=8 * PROBES)  # squares have long tails
    within(mean, error, jnp.diagonal(unpack(precision.geometry, 10), axis1=-2, axis2=-1), seed)
