"""One step of diffusion against the sampler of diffusers."""

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.difix.one_step_diffusion import alpha_bar, predict_x0
from tests.ff_jax.fixers.difix import torch_difix
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("timestep", [0, 199, 999])
def test_the_clean_latent_equals_a_whole_run_of_the_sampler(timestep):
    latents, noise = seeded_rng().normal(size=(2, 3, 5, 7, 4)).astype(np.float32)
    expected = torch_difix.step(*map(torch_difix.channels_first, (noise, latents)), timestep)
    found = predict_x0(jnp.asarray(latents), jnp.asarray(noise), timestep)
    assert torch_difix.relative_error(found, torch_difix.channels_last(expected)) < 1e-4


def test_the_published_level_keeps_three_quarters_of_the_signal():
    np.testing.assert_allclose([alpha_bar(199), alpha_bar(199) ** 0.5], [0.7552, 0.869], atol=5e-4)


def test_the_noise_that_was_added_is_removed():
    rng = seeded_rng()
    truth, noise = rng.normal(size=(2, 4, 4)).astype(np.float32)
    signal = alpha_bar(500)
    noisy = np.float32(signal**0.5) * truth + np.float32((1 - signal) ** 0.5) * noise
    np.testing.assert_allclose(predict_x0(jnp.asarray(noisy), jnp.asarray(noise), 500), truth, atol=1e-4)
