"""Layers against their definitions, computed here with NumPy; and their legends."""

import dataclasses

import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

from ff_jax.scene import RenderedScene
from ff_jax.viewer.layers import ALPHA, DEPTH, EIG, LAYERS, RGB, UCR, Scales, colorize, legend, scale_of, with_legend
from tests.random_inputs import seeded_rng

H, W = 12, 17
SCALES = Scales(eig=2.0, depth=30.0, tau=0.7)


@pytest.fixture
def rendered():
    rng = seeded_rng()

    def image(*more):
        return jnp.asarray(rng.uniform(-0.1, 1.1, (H, W, *more)), jnp.float32)

    alpha = jnp.clip(image(), 0, 1)
    depth = alpha * jnp.asarray(rng.uniform(1, 60, (H, W)), jnp.float32)
    eig = jnp.asarray(rng.exponential(1.0, (H, W)), jnp.float32)
    return RenderedScene(image(3), image(3), depth, alpha, image(3), jnp.int32(0), jnp.int32(0)), eig


def layer_image(layer, rendered):
    return np.asarray(colorize(layer, *rendered, jnp.float32(scale_of(layer, SCALES))))


def colors_of(values, name):
    level = np.round(np.clip(values, 0, 1) * 255).astype(int)
    return matplotlib.colormaps[name](level, bytes=True)[..., :3]


def test_colors_and_maps(rendered):
    out, eig = rendered
    rgb = np.clip(np.asarray(out.rgb), 0, 1)
    assert np.abs(layer_image(RGB, rendered).astype(float) - rgb * 255).max() <= 0.51
    alpha = np.asarray(out.alpha)
    depth = np.where(alpha > 0.5, np.asarray(out.depth) / np.maximum(alpha, 0.5), 1e4)
    expected = {
        DEPTH: colors_of(depth / 30, "viridis_r"),
        ALPHA: colors_of(alpha, "gray"),
        EIG: colors_of(np.asarray(eig) / 2, "magma"),
    }
    for layer, image in expected.items():
        # Rounding may select the neighboring color.
        assert np.abs(layer_image(layer, rendered).astype(int) - image).max() <= 12, layer


def test_only_under_constrained_pixels_are_tinted(rendered):
    plain, masked = layer_image(RGB, rendered).astype(int), layer_image(UCR, rendered).astype(int)
    under = np.asarray(rendered[1]) >= 0.7
    assert 0 < under.sum() < under.size
    np.testing.assert_array_equal(masked[~under], plain[~under])
    assert (masked[under][:, 0] - masked[under][:, 2] > plain[under][:, 0] - plain[under][:, 2]).mean() > 0.6
    np.testing.assert_allclose(masked[under], 0.45 * plain[under] + 0.55 * 255 * np.array([1, 0.45, 0]), atol=1)


def test_every_layer_but_rgb_has_its_own_legend():
    strips = [legend(layer, SCALES, 200) for layer in LAYERS]
    assert strips[0] is None
    assert all(strip.shape[1] == 200 and strip.std() > 5 for strip in strips[1:])
    assert len({strip.tobytes() for strip in strips[1:]}) == len(LAYERS) - 1
    assert (legend(EIG, SCALES, 200) != legend(EIG, Scales(eig=3.0), 200)).any()
    units = dataclasses.replace(SCALES, unit="units")  # where the meter is unknown
    assert (legend(DEPTH, SCALES, 200) != legend(DEPTH, units, 200)).any()
    np.testing.assert_array_equal(legend(EIG, SCALES, 200), legend(EIG, units, 200))
    image = np.zeros((20, 90, 3), np.uint8)
    assert with_legend(image, RGB, SCALES) is image
    saved = with_legend(image, EIG, SCALES)
    assert saved.shape[1] == 90 and saved.shape[0] > 20 and not saved[:20].any()
