"""Layers against their definitions, computed here pixel by pixel; scales say what the colours stand for."""

import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

from ff_jax.scene.scene import SceneView
from ff_jax.viewer.layers import ALPHA, DEPTH, EIG, LAYERS, RGB, UCR, Scales, captioned, legend, paint, scale_of

H, W = 12, 17
SCALES = Scales(eig=2.0, depth=30.0, tau=0.7)


@pytest.fixture
def view():
    rng = np.random.default_rng()
    image = lambda *more: jnp.asarray(rng.uniform(-0.1, 1.1, (H, W, *more)), jnp.float32)
    alpha = jnp.clip(image(), 0, 1)
    depth = alpha * jnp.asarray(rng.uniform(1, 60, (H, W)), jnp.float32)
    gain = jnp.asarray(rng.exponential(1.0, (H, W)), jnp.float32)
    return SceneView(image(3), image(3), depth, alpha, image(3), jnp.int32(0)), gain


def painted(layer, view):
    return np.asarray(paint(layer, *view, jnp.float32(scale_of(layer, SCALES))))


def coloured(values, name):
    level = np.round(np.clip(values, 0, 1) * 255).astype(int)
    return matplotlib.colormaps[name](level, bytes=True)[..., :3]


def test_colour_and_maps(view):
    seen, gain = view
    rgb = np.clip(np.asarray(seen.rgb), 0, 1)
    assert np.abs(painted(RGB, view).astype(float) - rgb * 255).max() <= 0.51
    alpha = np.asarray(seen.alpha)
    depth = np.where(alpha > 0.5, np.asarray(seen.depth) / np.maximum(alpha, 0.5), 1e4)
    wanted = {
        DEPTH: coloured(depth / 30, "viridis_r"),
        ALPHA: coloured(alpha, "gray"),
        EIG: coloured(np.asarray(gain) / 2, "magma"),
    }
    for layer, picture in wanted.items():
        # Rounding may fall to the neighbouring colour.
        assert np.abs(painted(layer, view).astype(int) - picture).max() <= 12, layer


def test_under_constrained_pixels_are_tinted_and_others_not(view):
    plain, masked = painted(RGB, view).astype(int), painted(UCR, view).astype(int)
    under = np.asarray(view[1]) >= 0.7
    assert 0 < under.sum() < under.size
    np.testing.assert_array_equal(masked[~under], plain[~under])
    assert (masked[under][:, 0] - masked[under][:, 2] > plain[under][:, 0] - plain[under][:, 2]).mean() > 0.6
    np.testing.assert_allclose(masked[under], 0.45 * plain[under] + 0.55 * 255 * np.array([1, 0.45, 0]), atol=1)


def test_every_layer_but_colour_has_a_scale_of_its_own():
    strips = [legend(layer, SCALES, 200) for layer in LAYERS]
    assert strips[0] is None
    assert all(strip.shape[1] == 200 and strip.std() > 5 for strip in strips[1:])
    assert len({strip.tobytes() for strip in strips[1:]}) == len(LAYERS) - 1
    assert (legend(EIG, SCALES, 200) != legend(EIG, Scales(eig=3.0), 200)).any()
    picture = np.zeros((20, 90, 3), np.uint8)
    assert captioned(picture, RGB, SCALES) is picture
    below = captioned(picture, EIG, SCALES)
    assert below.shape[1] == 90 and below.shape[0] > 20 and not below[:20].any()
