"""The video autoencoder: causality, chunks, tiles, units. Equality with the original is tested with its weights."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.eigent import vae
from ff_jax.fixers.eigent.network_config import VideoVaeConfig
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

CONFIG = VideoVaeConfig(
    widths=(8, 8), latent_channels=3, layers=1, time_factor=2, groups=2, scale=0.5, tile=(12, 16), overlap=(4, 4),
)  # fmt: skip


@pytest.fixture(scope="module")
def params():
    rng = seeded_rng()
    shapes = jax.eval_shape(lambda key: vae.init_params(key, CONFIG), jax.random.key(0))

    def draw(path, leaf):
        mean = 1 if jax.tree_util.keystr(path).endswith("['scale']") else 0
        size = np.prod(leaf.shape[:-1]) ** -0.5 if len(leaf.shape) > 1 else 0.1
        return jnp.asarray(mean + size * rng.normal(size=leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.fixture(scope="module")
def video():
    return seeded_rng().random((1, 9, 12 * 2, 16 * 2, 3), np.float32)


def test_latents_depend_on_earlier_frames_only(params, video):
    mean = vae.encode(CONFIG, params, video).mean
    assert mean.shape == (1, 5, 12, 16, 3)
    later, sooner = video.copy(), video.copy()
    later[:, 5:] = 0.5
    sooner[:, 4] = 0.5
    changed = vae.encode(CONFIG, params, later).mean
    np.testing.assert_array_equal(changed[:, :3], mean[:, :3])
    assert np.abs(changed[:, 3:] - mean[:, 3:]).min(axis=(0, 2, 3, 4)).all()
    # Frame 4 is in the first chunk; the second one sees it through the cache.
    assert np.abs(vae.encode(CONFIG, params, sooner).mean - mean)[:, 3:].max() > 1e-4


def test_decoded_frames_depend_on_earlier_latents_only(params):
    latents = seeded_rng().normal(size=(1, 5, 12, 16, 3)).astype(np.float32)
    video = vae.decode(CONFIG, params, latents)
    assert video.shape == (1, 9, 24, 32, 3)
    changed = latents.copy()
    changed[:, 3:] = 0
    np.testing.assert_array_equal(vae.decode(CONFIG, params, changed)[:, :5], video[:, :5])


def test_tiles_are_close_to_the_whole(params):
    latents = seeded_rng().normal(size=(1, 3, 20, 28, 3)).astype(np.float32)
    whole, tiled = vae.decode(replace(CONFIG, tile=(99, 99)), params, latents), vae.decode(CONFIG, params, latents)
    # Statistics of a normalization are those of the tile, so that tiles differ a little everywhere.
    assert 0 < jnp.linalg.norm(tiled - whole) < 0.5 * jnp.linalg.norm(whole - whole.mean())


def test_frames_in_tiles_give_as_many_latents(params):
    frames = seeded_rng().random((1, 5, 40, 32, 3), np.float32)
    assert vae.encode(CONFIG, params, frames).mean.shape == (1, 3, 20, 16, 3)


def test_samples_have_the_moments():
    rng = seeded_rng()
    mean, log_variance = (jnp.asarray(rng.normal(size=(1, 1, 1, 4, 3)), jnp.float32) for _ in range(2))
    many = vae.Moments(*(jnp.repeat(part, 4000, 0) for part in (mean, log_variance)))
    drawn = vae.sample(jax.random.key(rng.integers(1 << 30)), many)
    std = np.exp(log_variance[0] / 2)
    assert (np.abs(drawn.mean(0) - mean[0]) < 0.2 * std).all()
    np.testing.assert_allclose(drawn.std(0), std, rtol=0.2)


def test_wrong_inputs_are_named(params):
    zeros = lambda *shape: jnp.zeros(shape, jnp.float32)
    with pytest.raises(ValueError, match=r"must have 1 \+ 4k frames"):
        vae.encode(CONFIG, params, zeros(1, 8, 8, 8, 3))
    with pytest.raises(ValueError, match="height and width that are multiples of 2"):
        vae.encode(CONFIG, params, zeros(1, 9, 8, 5, 3))
    with pytest.raises(ValueError, match=r"must have 1 \+ 2k frames and 3 channels"):
        vae.decode(CONFIG, params, zeros(1, 2, 8, 6, 3))
    with pytest.raises(ValueError, match=r"must have 1 \+ 2k frames and 3 channels"):
        vae.decode(CONFIG, params, zeros(1, 3, 8, 6, 4))
    with pytest.raises(ValueError, match="groups=3 must divide"):
        replace(CONFIG, groups=3)
    with pytest.raises(ValueError, match="time_factor=4 must be a power of 2 of at most 2"):
        replace(CONFIG, time_factor=4)
    with pytest.raises(ValueError, match="must be positive and at most half of tile"):
        replace(CONFIG, overlap=(7, 4))
