"""The whole network against a composition of PyTorch originals, with and without EIG."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.convert import difix as convert
from ff_jax.fixers.difix import eig_conditioning, model
from ff_jax.fixers.difix.config import published, tiny
from tests.ff_jax.fixers.difix import torch_difix
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

torch = torch_difix.torch
CONFIG = torch_difix.CONFIG


@pytest.fixture(scope="module")
def run():
    """Return the jitted network with the pull-back to conditioning and frames."""

    @torch_difix.jit
    def both(params, frames, eig, references, cotangent):
        call = lambda guidance, frames: model.repair(params | {"guidance": guidance}, frames, eig, references, CONFIG)
        out, pull = jax.vjp(call, params["guidance"], frames)
        return out, *pull(cotangent)

    return both


@pytest.fixture(scope="module")
def plain():
    """Return the jitted network without EIG."""
    return torch_difix.jit(lambda params, frames, references: model.repair(params, frames, None, references, CONFIG))


@pytest.fixture(scope="module")
def networks():
    """Return the original and its parameters."""
    original = torch_difix.random_networks()
    text = jnp.asarray(seeded_rng().normal(size=(5, 24)), jnp.float32)
    return original, convert.convert(*(arrays.items() for arrays in torch_difix.tensors(original)), text, CONFIG)


@pytest.fixture
def case(networks):
    """Return original, parameters, frames, EIG, references and a cotangent."""
    rng = seeded_rng()
    frames, references, cotangent = rng.random((3, 2, 12, 16, 3), np.float32)
    return *networks, frames, rng.exponential(1.0, (2, 12, 16)).astype(np.float32), references, cotangent


def perturbed(params):
    """Return the parameters with random conditioning."""
    rng = seeded_rng()
    draw = lambda leaf: jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32)
    return params | {"guidance": jax.tree.map(draw, params["guidance"])}


def conditioned_original(original, params, frames, eig, references):
    """Return images of the PyTorch networks, with 9 input channels and hooks on the norms before attention."""
    images = torch.stack([frames, references], 1).flatten(0, 1) * 2 - 1
    latents, starts = torch_difix.encode(original, images, CONFIG.vae.scaling)
    channel = torch.nn.functional.avg_pool2d(1 - torch.exp(-torch.tensor(eig)[:, None] / 0.7), 2)
    channel = torch.stack([channel, 0 * channel], 1).flatten(0, 1)
    unet = copy.deepcopy(original.unet)
    extra = torch.tensor(np.asarray(params["guidance"]["conv_in"]["kernel"]).transpose(3, 2, 0, 1))
    unet.conv_in.weight.data = torch.cat([unet.conv_in.weight.data, extra], 1)
    maps = {level.shape[-2] * level.shape[-1]: level for level in (channel, torch.nn.functional.avg_pool2d(channel, 2))}
    for name, strength in params["guidance"]["strength"].items():
        modulate = lambda _, inputs, out, s=float(strength): out * (1 + s * maps[out.shape[1]].flatten(2).mT)
        block = unet.get_submodule(name.replace("blocks_", "blocks.").replace("attentions_", "attentions."))
        block.norm1.register_forward_hook(modulate)
        block.norm2.register_forward_hook(modulate)
    text = torch.tensor(np.asarray(params["text"])).expand(len(latents), -1, -1)
    noise = unet(torch.cat([latents, channel, channel * latents], 1), 199, text).sample
    clean = torch_difix.step(noise, latents, 199)
    return 0.5 * (torch_difix.decode(original, clean[::2], [start[::2] for start in starts], CONFIG.vae.scaling) + 1)


def test_images_and_gradient_equal_the_original(run, case):
    original, params, frames, eig, references, cotangent = case
    params = perturbed(params)
    fixed, _, gradient = run(params, frames, eig, references, cotangent)
    pixels = torch_difix.channels_first(frames).requires_grad_()
    expected = conditioned_original(original, params, pixels, eig, torch_difix.channels_first(references))
    expected.backward(torch_difix.channels_first(cotangent))
    assert torch_difix.relative_error(fixed, torch_difix.channels_last(expected)) < 1e-4
    assert torch_difix.relative_error(gradient, torch_difix.channels_last(pixels.grad)) < 1e-3


def test_untrained_conditioning_is_plain_difix_bit_for_bit(plain, case):
    # Without the gradient of `run`, so that XLA orders all sums alike.
    conditioned = lambda *inputs: torch_difix.repair(*inputs, CONFIG)
    _, params, frames, eig, references, _ = case
    expected = plain(params, frames, references)
    np.testing.assert_array_equal(conditioned(params, frames, eig, references), expected)
    # So is trained conditioning where EIG is zero.
    trained = perturbed(params)
    np.testing.assert_array_equal(conditioned(trained, frames, 0 * eig, references), expected)
    assert torch_difix.relative_error(conditioned(trained, frames, eig, references), expected) > 1e-2


def test_every_transformer_block_and_every_new_channel_learns_from_eig(run, case):
    _, params, frames, eig, references, cotangent = case
    gradient = run(params, frames, eig, references, cotangent)[1]
    assert len(gradient["strength"]) == 4
    for name, value in gradient["strength"].items():
        assert abs(value) > 1e-6, name
    assert np.abs(gradient["conv_in"]["kernel"]).max((0, 1, 3)).min() > 1e-6
    still = run(params, frames, 0 * eig, references, cotangent)[1]
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(still))


def test_frames_that_do_not_fit_the_strides_are_refused():
    frames = jnp.zeros((1, 12, 18, 3))
    with pytest.raises(ValueError, match="frames of 12 x 18 pixels: pad both sides to multiples of 4"):
        model.repair({}, frames, None, frames, CONFIG)


def test_first_parameters_have_the_shapes_that_are_announced():
    params = model.init(jax.random.key(3), CONFIG)
    expected = model.shapes(CONFIG)
    assert jax.tree.structure(params) == jax.tree.structure(expected)
    jax.tree.map(
        lambda leaf, shape: np.testing.assert_equal((leaf.shape, leaf.dtype), (shape.shape, shape.dtype)),
        params,
        expected,
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    again = model.init(jax.random.key(3), CONFIG)
    jax.tree.map(np.testing.assert_array_equal, params, again)


def test_sizes():
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    full, small = torch_difix.published_shapes(), model.shapes(tiny())
    assert (count(full["unet"]), count(full["vae"]), len(full["guidance"]["strength"])) == (865910724, 83653863, 16)
    assert 2 * count(small) < 10e6  # bytes in half precision
    assert published().stride == 64 and tiny().stride == 16
    assert eig_conditioning.block_names(small["unet"]) == sorted(small["guidance"]["strength"])
