"""Stochastic estimates through the rasterizer against the analytic maps, for block and diagonal posteriors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax import eig
from ff_jax.eig import stochastic
from ff_jax.render.renderer import RenderInput, RenderSettings
from kernels import unpack_symmetric
from tests.ff_jax.eig.problems import add_view, eig_maps, posterior_of
from tests.random_inputs import seeded_rng
from tests.scenes import pinhole, quick, random_world

pytestmark = pytest.mark.slow

W, H, N, NOISE, SAMPLES = 33, 26, 20, 0.05, 200
BACKGROUND = jnp.broadcast_to(jnp.array([0.2, 0.5, 0.9]), (H, W, 3))


@pytest.fixture(scope="module")
def seed():
    return int(seeded_rng().integers(1 << 31))


@pytest.fixture(scope="module")
def view(seed):
    """A view of overlapping Gaussians with colors away from the clipping at 0, and its information."""
    options = dict(box=((-1.5, -1.2, 3), (1.5, 1.2, 6)), stds=(0.1, 0.5), logits=(-1, 2), color_std=0.08)
    world = random_world(np.random.default_rng(seed), N, num_dead=0, **options)
    inputs = RenderInput(world, pinhole(W, H, 30.0), RenderSettings(capacity=1024, tile=8, implementation="xla"))
    return inputs, add_view(None, inputs, BACKGROUND, NOISE, has_background=True)


def assert_within(mean, error, expected, seed):
    """Check that the mean is within 3 standard errors nearly everywhere, and within 8 everywhere."""
    z = np.abs(np.asarray(mean - expected)) / np.asarray(error + 1e-4 * np.abs(expected) + 1e-9)
    assert np.mean(z < 3) > 0.97 and z.max() < 8, (seed, np.mean(z < 3), z.max())


@pytest.mark.parametrize("structure", ["block", "diag"])
def test_trace_map_is_the_mean_of_squared_forward_samples(view, seed, structure):
    inputs, precision = view
    posterior = posterior_of(precision, eig.Priors(), inputs.world.gaussians, structure=structure)
    estimate = quick(stochastic.trace_map, static_argnames="num_samples")
    mean, error = estimate(jax.random.key(seed), posterior, inputs, BACKGROUND, noise=NOISE, num_samples=SAMPLES)
    assert_within(mean, error, eig_maps(posterior, inputs, BACKGROUND, NOISE, modes=("trace",))["trace"], seed)


def test_precision_has_the_diagonal_of_squared_backward_samples(view, seed):
    inputs, precision = view
    estimate = quick(stochastic.fisher_diagonal, static_argnames="num_samples")
    num_samples = 8 * SAMPLES  # squares have long tails
    mean, error = estimate(jax.random.key(seed), inputs, BACKGROUND, noise=NOISE, num_samples=num_samples)
    diagonal = jnp.diagonal(unpack_symmetric(precision.geometry, 10), axis1=-2, axis2=-1)
    assert_within(mean, error, diagonal, seed)
