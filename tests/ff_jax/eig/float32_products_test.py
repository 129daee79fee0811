"""Geometry is computed in full float32 on every device.

By default a GPU multiplies float32 matrices with 10 bits of mantissa: an error of half a pixel at the edge of an image,
and of centimeters in poses. A CPU does not do that, so these tests search the lowered programs for such products.
"""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax import eig
from ff_jax.data.synthetic import StreetConfig, make_street, render_street, rig_camera, simulate_lidar
from ff_jax.eig import scene_posterior
from ff_jax.eig.scene_posterior import ScenePosterior, posterior_of, render_with_eig
from ff_jax.eig.signals.view_maps import nearest_camera
from ff_jax.eig.view_selection import lanczos
from ff_jax.fixers.reprojection import AlignConfig, Views, align
from ff_jax.pipeline.initialize import initialize
from ff_jax.render.camera import make_camera
from ff_jax.scene import RenderedScene
from ff_jax.train.batches import TrainBatches
from ff_jax.train.densify.step import make_density_step
from ff_jax.train.loop import next_batch
from ff_jax.train.step import make_train_step
from tests.ff_jax.viewer import tiny_run
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

PRODUCT = re.compile(r"stablehlo\.(?:dot_general|convolution).*-> tensor<(?:\d+x)*f32>.*")


def inexact_products(function: Callable, *arguments: Any) -> list[str]:
    """List the products of float32 matrices whose precision is the default of the device."""
    text = jax.jit(function).lower(*arguments).as_text()
    return sorted({line for line in PRODUCT.findall(text) if text and line.count("HIGHEST") != 2})


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    """A log with an actor, at the start of its training."""
    config = tiny_run.make_log(tmp_path_factory.mktemp("log"))
    reader, _, _ = tiny_run.make_reader(tmp_path_factory.mktemp("run"), config)
    state, plan = initialize(reader.recording, config, pseudo_views=2, steps=100)
    return state.train, plan, next_batch(state, 0, plan, TrainBatches(reader.recording))[0]


@pytest.mark.parametrize("shape", [(3, 3), (3,)])
def test_the_search_finds_inexact_products(shape):
    matrix, other = jnp.eye(3), jnp.ones(shape)
    assert len(inexact_products(lambda x, y: jax.jit(jnp.matmul)(x, y), matrix, other)) == 1
    assert not inexact_products(lambda x, y: jnp.matmul(x, y, precision="highest"), matrix, other)
    image, kernel = jnp.ones((1, 1, 5, 5)), jnp.ones((1, 1, 3, 3))

    def convolve(precision):
        return lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", precision=precision)

    assert inexact_products(convolve(None), image, kernel)
    assert not inexact_products(convolve("highest"), image, kernel)


def test_training(problem):
    state, plan, batch = problem
    assert not inexact_products(make_train_step(plan.recon, plan.settings), state, batch, plan.scale)
    assert not inexact_products(make_density_step(plan.recon), state, plan.scale)


def test_posterior_and_eig(problem):
    state, plan, batch = problem
    model, one, priors = plan.model(state, 0), jnp.float32(0.1), eig.Priors()
    gaussians = state.scene.params.gaussians
    precision = eig.init_precision(gaussians)
    posterior = ScenePosterior(eig.posterior(precision, priors, gaussians), one, jnp.zeros((1, 1, 1)))
    assert not inexact_products(scene_posterior._residual_and_depth, model, batch)
    assert not inexact_products(scene_posterior._add_view, precision, model, batch, one, one)
    assert not inexact_products(lambda p, m: posterior_of(p, m, priors), precision, model)
    assert not inexact_products(lambda m, p, b: render_with_eig(m, p, b.view), model, posterior, batch)


def test_distances_and_joint_eig():
    rgb, flat = jnp.ones((4, 5, 3)), jnp.ones((4, 5))
    rendered = RenderedScene(rgb, rgb, flat, flat, rgb, jnp.int32(0), jnp.int32(0))
    camera = make_camera(jnp.eye(3), jnp.eye(4), 5, 4)
    assert not inexact_products(lambda c: nearest_camera(rendered, c, jnp.ones((2, 3))), camera)
    assert not inexact_products(lambda start: lanczos(lambda x: 2 * x, start, 3), jnp.ones(4) / 2)


def test_reprojection():
    rng = seeded_rng()
    rgb, depth = rng.random((2, 8, 9, 3)), rng.random((2, 8, 9)) + 5
    arrays = rgb, depth, np.tile(np.eye(3), (2, 1, 1)), np.tile(np.eye(4), (2, 1, 1))
    views = Views(*(jnp.asarray(x, jnp.float32) for x in arrays))
    nearest, config = np.array([[0, 1], [1, 0]]), AlignConfig(num_sources=2)
    assert not inexact_products(lambda v: align(v, v, nearest, config), views)


def test_synthetic_street():
    street = make_street(0, StreetConfig(num_frames=2))
    assert not inexact_products(lambda s: render_street(s, rig_camera(s, 0, "front", 32, 16), 0), street)
    assert not inexact_products(lambda s: simulate_lidar(jax.random.key(0), s, 0), street)
