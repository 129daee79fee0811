"""PyTorch originals of Difix at a tiny size, on random weights, put together from diffusers' networks."""

import functools
import sys
from typing import NamedTuple

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch")


def _hide_broken_torchvision():
    """Let transformers and diffusers know if torchvision is there but of another version of PyTorch."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        sys.modules["torchvision"] = None
        for package in ("transformers", "diffusers"):
            tools = pytest.importorskip(f"{package}.utils.import_utils")
            tools._torchvision_available = False


_hide_broken_torchvision()

import diffusers  # noqa: E402

from ff_jax.generators.difix import model  # noqa: E402
from ff_jax.generators.difix.config import DifixConfig, UNetConfig, VaeConfig, published  # noqa: E402

CONFIG = DifixConfig(
    unet=UNetConfig(channels=(32, 64), heads=(2, 4), layers=1, context=24, tokens=5),
    vae=VaeConfig(channels=(16, 32), layers=1, groups=8, rank=2, alpha=3.0),
    size=(64, 64),
    tile=(64, 64),
    overlap=8,
    eig_scale=0.7,
    chunk=2,
    dtype="float32",
)
ADAPTER = "vae_skip"

# Most of the time goes into compiling: the code runs once or twice, so that it need not be fast.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": "0"})
repair = jit(model.repair, static_argnums=4)  # one for all tests


@functools.cache
def published_shapes():
    """Return the shapes of all parameters of the published size."""
    return model.shapes(published())


class Original(NamedTuple):
    unet: torch.nn.Module
    vae: torch.nn.Module
    skips: torch.nn.ModuleList


class Mixing:
    """Attention that sees the tokens of all views of a frame in one row, unless it attends to the text."""

    def __init__(self, views):
        self.views = views

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **unused):
        batch, tokens, width = hidden_states.shape
        x, text = hidden_states, encoder_hidden_states
        if text is None:
            x = text = x.reshape(batch // self.views, self.views * tokens, width)
        heads = lambda y: y.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        query, key, value = heads(attn.to_q(x)), heads(attn.to_k(text)), heads(attn.to_v(text))
        weights = torch.softmax(query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5, -1)
        return attn.to_out[0]((weights @ value).transpose(1, 2).flatten(2)).reshape(batch, tokens, -1)


def networks(config, views=2):
    """Return the originals of the layout."""
    unet, vae = config.unet, config.vae
    attended = len(unet.channels) - 1
    denoiser = diffusers.UNet2DConditionModel(
        in_channels=vae.latent,
        out_channels=vae.latent,
        down_block_types=("CrossAttnDownBlock2D",) * attended + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * attended,
        block_out_channels=unet.channels,
        layers_per_block=unet.layers,
        attention_head_dim=unet.heads,
        cross_attention_dim=unet.context,
        use_linear_projection=True,
    )
    denoiser.set_attn_processor(Mixing(views))
    autoencoder = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(vae.channels),
        up_block_types=("UpDecoderBlock2D",) * len(vae.channels),
        block_out_channels=vae.channels,
        layers_per_block=vae.layers,
        latent_channels=vae.latent,
        norm_num_groups=vae.groups,
    )
    coarse = vae.channels[::-1]
    sizes = zip([*coarse[1:], coarse[-1]], [coarse[0], *coarse[:-1]], strict=True)
    skips = torch.nn.ModuleList(torch.nn.Conv2d(given, taken, 1, bias=False) for given, taken in sizes)
    return Original(denoiser.eval(), autoencoder.eval(), skips)


def randomise(module):
    """Draw every weight: kernels keep the size of activations, no norm is the identity."""
    rng = np.random.default_rng()
    for name, weight in module.state_dict().items():
        if weight.ndim > 1:
            drawn = rng.normal(0, 1 / np.sqrt(np.prod(weight.shape[1:])), weight.shape)
        else:
            drawn = rng.normal(0, 0.2, weight.shape) + ("norm" in name and name.endswith("weight"))
        with torch.no_grad():
            weight.copy_(torch.tensor(drawn))


def random_networks(config=CONFIG):
    """Return the originals with random weights."""
    found = networks(config)
    for module in found:
        randomise(module)
    return found


def tensors(original):
    """Return the tensors of denoiser and autoencoder by name, skip convolutions as Difix calls them."""
    arrays = lambda module: {name: weight.numpy() for name, weight in module.state_dict().items()}
    skips = {f"decoder.skip_conv_{i}.weight": skip.weight.detach().numpy() for i, skip in enumerate(original.skips, 1)}
    return arrays(original.unet), arrays(original.vae) | skips


def encode(original, images, config=CONFIG):
    """Return scaled latents and what each level of the encoder starts from."""
    starts = []
    hooks = [
        block.register_forward_pre_hook(lambda _, inputs: starts.append(inputs[0]))
        for block in original.vae.encoder.down_blocks
    ]
    latents = config.vae.scaling * original.vae.encode(images).latent_dist.mean
    for hook in hooks:
        hook.remove()
    return latents, starts


def decode(original, latents, starts, config=CONFIG):
    """Return images: each level of the decoder gets its skip convolution added, coarsest first."""
    decoder = original.vae.decoder
    x = decoder.mid_block(decoder.conv_in(original.vae.post_quant_conv(latents / config.vae.scaling)))
    for block, skip, start in zip(decoder.up_blocks, original.skips, starts[::-1], strict=True):
        x = block(x + skip(start))
    return decoder.conv_out(torch.nn.functional.silu(decoder.conv_norm_out(x)))


def scheduler(timestep):
    """Return the sampler of SD-Turbo, set to the one timestep."""
    sampler = diffusers.DDPMScheduler(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
    )
    sampler.set_timesteps(1)
    sampler.timesteps = torch.tensor([timestep])
    return sampler


def step(noise, latents, timestep):
    """Return the clean latent."""
    return scheduler(timestep).step(noise, timestep, latents).prev_sample


def channels_first(array):
    """Return (..., H, W, C) as a tensor (..., C, H, W)."""
    return torch.tensor(np.moveaxis(np.asarray(array), -1, -3))


def channels_last(tensor):
    """Return (..., C, H, W) as an array (..., H, W, C)."""
    return np.moveaxis(tensor.detach().numpy(), -3, -1)


def relative_error(found, expected):
    """Return the largest difference over the deviation of what is expected."""
    expected = np.asarray(expected)
    return np.abs(np.asarray(found) - expected).max() / expected.std()
