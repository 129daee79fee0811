"""The denoiser against diffusers' PyTorch U-Net with mixed views, on random weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.convert.difix import UNET
from ff_jax.fixers.convert.name_mapping import to_flax
from ff_jax.fixers.difix import eig_conditioning, unet
from ff_jax.fixers.difix.eig_conditioning import EigCondition
from tests.ff_jax.fixers.difix import torch_difix
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

torch = torch_difix.torch
CONFIG = torch_difix.CONFIG


@pytest.fixture(scope="module")
def run():
    """Return the jitted network: (params, latents, text)."""
    return torch_difix.jit(lambda params, latents, text: unet.predict_noise(params, latents, text, CONFIG))


@pytest.fixture
def case():
    """Return original, its parameters, latents of 2 frames with 2 views, and text."""
    original, rng = torch_difix.random_networks(), seeded_rng()
    params = to_flax(torch_difix.tensors(original)[0].items(), UNET, unet.shapes(CONFIG))
    latents = rng.normal(size=(2, 2, 6, 8, 4)).astype(np.float32)
    return original, params, latents, rng.normal(size=(5, 24)).astype(np.float32)


def test_noise_equals_the_original(run, case):
    original, params, latents, text = case
    with torch.no_grad():
        rows = torch_difix.channels_first(latents.reshape(4, 6, 8, 4))
        expected = original.unet(rows, 199, torch.tensor(text).expand(4, -1, -1)).sample
    expected = torch_difix.channels_last(expected).reshape(latents.shape)
    assert torch_difix.relative_error(run(params, latents, text), expected) < 1e-4


def test_a_view_sees_the_other_views_of_its_frame_alone(run, case):
    _, params, latents, text = case
    noise = run(params, latents, text)
    other = latents.copy()
    other[0, 1] += 1.0
    changed = np.abs(run(params, other, text) - noise).max((2, 3, 4))
    assert changed[0].min() > 1e-3 and changed[1].max() < 1e-5
    swapped = run(params, latents[:, ::-1], text)
    assert torch_difix.relative_error(swapped[:, ::-1], noise) < 1e-4


def test_bfloat16_is_for_the_computation_not_for_the_parameters(case):
    half = dataclasses.replace(CONFIG, dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(unet.shapes(half))} == {jnp.dtype("float32")}
    condition = EigCondition(eig_conditioning.init(case[1], 4), jnp.ones((2, 2, 6, 8)))
    call = lambda params, latents, text, condition: unet.predict_noise(params, latents, text, half, condition)
    traced = str(jax.make_jaxpr(call)(*case[1:], condition))
    used = [line.split("]")[0] for line in traced.splitlines() if "= conv_general" in line]
    assert used and all(":bf16" in line for line in used), used
