"""Blending repairs into renders."""

import jax
import jax.numpy as jnp
import numpy as np

from ff_jax.fixers.blending import blend


def test_blend_is_the_naive_mixture_for_clips_and_single_frames():
    rng = np.random.default_rng(1)
    fixed, render = jnp.asarray(rng.random((2, 3, 4, 5, 3), np.float32))
    weight = jnp.asarray(rng.random((3, 4, 5), np.float32))
    naive = weight[..., None] * fixed + (1 - weight[..., None]) * render
    np.testing.assert_allclose(blend(fixed, render, weight), naive, atol=1e-6)
    np.testing.assert_allclose(blend(fixed[0], render[0], weight[0]), naive[0], atol=1e-6)


def test_weight_zero_keeps_the_render_bit_for_bit_and_stops_the_gradient_to_the_repair():
    rng = np.random.default_rng(2)
    fixed, render = jnp.asarray(rng.random((2, 4, 5, 3), np.float32))
    weight = jnp.asarray(rng.random((4, 5)) < 0.5, jnp.float32)
    np.testing.assert_array_equal(blend(fixed, render, weight)[weight == 0], render[weight == 0])
    gradient = jax.grad(lambda fixed: blend(fixed, render, weight).sum())(fixed)
    np.testing.assert_array_equal(gradient, np.repeat(weight[..., None], 3, -1))
