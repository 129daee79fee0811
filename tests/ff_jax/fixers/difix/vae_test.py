"""The autoencoder against diffusers' PyTorch one with skip convolutions, on random weights."""

import jax
import numpy as np
import pytest

from ff_jax.fixers.convert.difix import VAE
from ff_jax.fixers.convert.name_mapping import to_flax
from ff_jax.fixers.difix import vae
from ff_jax.fixers.difix.config import published
from tests.ff_jax.fixers.difix import torch_difix
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

CONFIG = torch_difix.CONFIG


@pytest.fixture(scope="module")
def run():
    """Return the jitted encoder and decoder: (params, images)."""

    @torch_difix.jit
    def both(params, images):
        latents, starts = vae.encode(params, images, CONFIG)
        return latents, vae.decode(params, params["skips"], latents, starts, CONFIG)

    return both


def test_latents_and_images_equal_the_original(run):
    original, rng = torch_difix.random_networks(), seeded_rng()
    expected = vae.shapes(CONFIG) | {"skips": jax.eval_shape(lambda: vae.init_skips(CONFIG))}
    params = to_flax(torch_difix.tensors(original)[1].items(), VAE, expected)
    images = rng.uniform(-1, 1, (2, 12, 20, 3)).astype(np.float32)
    latents, decoded = run(params, images)
    pixels = torch_difix.channels_first(images)
    true_latents, starts = torch_difix.encode(original, pixels, torch_difix.CONFIG.vae.scaling)
    true_images = torch_difix.decode(original, true_latents, starts, torch_difix.CONFIG.vae.scaling)
    assert torch_difix.relative_error(latents, torch_difix.channels_last(true_latents)) < 1e-4
    assert torch_difix.relative_error(decoded, torch_difix.channels_last(true_images)) < 1e-4
    # The skips count: without them the same latents give another image.
    without = original._replace(skips=[lambda start: 0.0] * 2)
    bare = torch_difix.channels_last(torch_difix.decode(without, true_latents, starts, torch_difix.CONFIG.vae.scaling))
    assert torch_difix.relative_error(decoded, bare) > 0.1


def test_published_skip_convolutions_have_their_sizes():
    kernels = jax.eval_shape(lambda: vae.init_skips(published()))
    sizes = [kernels[f"skip_conv_{level}"]["kernel"].shape[2:] for level in (1, 2, 3, 4)]
    assert sizes == [(512, 512), (256, 512), (128, 512), (128, 256)]


def test_untrained_skip_convolutions_are_tiny_constants():
    for skip in vae.init_skips(CONFIG).values():
        np.testing.assert_array_equal(skip["kernel"], np.float32(1e-5))
