"""Geometry is computed in float32 on every device.

Left to itself, a GPU multiplies float32 matrices with 10 bits of mantissa: half a pixel at the rim of an image, and
centimetres in poses. A CPU does not show it, so the lowered programs themselves are searched for such products.
"""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies.measures.uncertainty_maps import nearest_camera
from ff_jax import eig
from ff_jax.data.synthetic import WorldConfig, lidar_sweep, make_world, render_world, rig_camera
from ff_jax.eig.scene_posterior import Knowledge, _compare, _observe, _posterior, look
from ff_jax.eig.view_selection import lanczos
from ff_jax.fixers.reprojection import AlignConfig, Views, align
from ff_jax.pipeline.initialize import start_run
from ff_jax.render.camera import make_camera
from ff_jax.scene.scene import SceneView
from ff_jax.train.densify.step import make_density_step
from ff_jax.train.loop import next_batch
from ff_jax.train.state import Pace
from ff_jax.train.step import make_train_step
from tests.ff_jax.viewer import tiny_run

PRODUCT = re.compile(r"stablehlo\.(?:dot_general|convolution).*-> tensor<(?:\d+x)*f32>.*")


def loose_products(function: Callable, *arguments: Any) -> list[str]:
    """Return the products of float32 matrices that are left to whatever precision a device likes."""
    text = jax.jit(function).lower(*arguments).as_text()
    return sorted({line for line in PRODUCT.findall(text) if text and line.count("HIGHEST") != 2})


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    """A street with an actor at the start of its training."""
    config = tiny_run.make_log(tmp_path_factory.mktemp("log"))
    reader, _, _ = tiny_run.make_reader(tmp_path_factory.mktemp("run"), config)
    run, recipe = start_run(reader.log, reader.feed, config, pool=2, steps=100)
    return run.state, recipe, next_batch(run, 0, recipe, reader.feed)


@pytest.mark.parametrize("shape", [(3, 3), (3,)])
def test_the_search_finds_loose_products(shape):
    matrix, other = jnp.eye(3), jnp.ones(shape)
    assert len(loose_products(lambda x, y: jax.jit(jnp.matmul)(x, y), matrix, other)) == 1
    assert not loose_products(lambda x, y: jnp.matmul(x, y, precision="highest"), matrix, other)
    image, kernel = jnp.ones((1, 1, 5, 5)), jnp.ones((1, 1, 3, 3))
    convolve = lambda x, k, how: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", precision=how)
    assert loose_products(lambda x, k: convolve(x, k, None), image, kernel)
    assert not loose_products(lambda x, k: convolve(x, k, "highest"), image, kernel)


def test_training(problem):
    state, recipe, batch = problem
    pace = Pace(recipe.radius, recipe.steps)
    assert not loose_products(make_train_step(recipe.recon, recipe.settings), state, batch, pace)
    assert not loose_products(make_density_step(recipe.recon), state, pace)


def test_evidence_and_gain(problem):
    state, recipe, batch = problem
    scene, settings, degree, one = state.scene, recipe.settings, jnp.int32(0), jnp.float32(0.1)
    nothing, priors = eig.init_precision(scene.params.gaussians), eig.Priors()
    known = Knowledge(eig.posterior(nothing, priors, scene.params.gaussians), one, jnp.zeros(()))
    assert not loose_products(lambda s, b: _compare(s, b, settings, degree), scene, batch)
    assert not loose_products(lambda p, s, b: _observe(p, s, b, one, one, settings, degree), nothing, scene, batch)
    assert not loose_products(lambda p, s: _posterior(p, s, priors), nothing, scene)
    assert not loose_products(lambda k, s, b: look(s, k, b.view, settings, degree), known, scene, batch)


def test_distances_and_joint_gain():
    rgb, flat = jnp.ones((4, 5, 3)), jnp.ones((4, 5))
    seen = SceneView(rgb, rgb, flat, flat, rgb, jnp.int32(0))
    camera = make_camera(jnp.eye(3), jnp.eye(4), 5, 4)
    assert not loose_products(lambda c: nearest_camera(seen, c, jnp.ones((2, 3))), camera)
    assert not loose_products(lambda start: lanczos(lambda x: 2 * x, start, 3), jnp.ones(4) / 2)


def test_re_projection():
    rng = np.random.default_rng()
    rgb, depth = rng.random((2, 8, 9, 3)), rng.random((2, 8, 9)) + 5
    views = Views(
        *(
            jnp.asarray(x, jnp.float32)
            for x in (rgb, depth, np.tile(np.eye(3), (2, 1, 1)), np.tile(np.eye(4), (2, 1, 1)))
        )
    )
    assert not loose_products(lambda v: align(v, v, np.array([[0, 1], [1, 0]]), AlignConfig(sources=2)), views)


def test_built_in_world():
    world = make_world(0, WorldConfig(num_frames=2))
    assert not loose_products(lambda w: render_world(w, rig_camera(w, 0, "front", 32, 16), 0), world)
    assert not loose_products(lambda w: lidar_sweep(jax.random.key(0), w, 0), world)
