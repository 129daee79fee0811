"""What fixers repair."""

import jax.numpy as jnp
import numpy as np

from ff_jax.eig.scene_posterior import EigRender
from ff_jax.pipeline.sources import FAR, source_frames
from ff_jax.render.renderer import SKY_DEPTH
from tests.random_inputs import seeded_rng


def random_clip(depth):
    rng = seeded_rng()
    rgb = jnp.asarray(rng.uniform(0.1, 1, (*depth.shape, 3)), jnp.float32)
    return EigRender(rgb, jnp.asarray(rng.exponential(size=depth.shape), jnp.float32), jnp.asarray(depth, jnp.float32))


def test_the_render_is_passed_as_it_is():
    clip = random_clip(np.full((1, 4, 6), 5.0))
    assert source_frames("render", clip, {}) is clip.rgb


def test_far_pixels_the_sky_and_its_border_are_black():
    depth = np.full((1, 40, 100), 10.0)
    depth[:, :12], depth[:, 30:, 80:] = SKY_DEPTH, FAR + 1.0
    clip = random_clip(depth)
    seen = source_frames("near", clip, {})
    is_black = (np.asarray(seen) == 0).all(-1)
    expected = np.zeros((1, 40, 100), bool)
    expected[:, :13], expected[:, 30:, 80:] = True, True  # a border of one pixel
    np.testing.assert_array_equal(is_black, expected)
    np.testing.assert_array_equal(seen[~expected], clip.rgb[~expected])


def test_lidar_colors_replace_the_render():
    clip = random_clip(np.full((2, 4, 6), 5.0))
    lidar = seeded_rng().integers(0, 256, (2, 4, 6, 5), dtype=np.uint8)
    seen = source_frames("lidar", clip, {"lidar": lidar})
    np.testing.assert_allclose(seen, lidar[..., :3] / 255, atol=1e-6)
