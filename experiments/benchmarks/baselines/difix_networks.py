"""Build Difix from the networks of PyTorch diffusers: the reference of our network in value and in time."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from ff_jax.fixers.difix.config import DifixConfig
from ff_jax.fixers.difix.diffusers_flax import hidden_if_broken

with hidden_if_broken("torchvision"):  # diffusers imports its classes when they are first named
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel


class Original(NamedTuple):
    """The networks: denoiser, autoencoder, and the skip convolutions of the decoder."""

    unet: torch.nn.Module
    vae: torch.nn.Module
    skips: torch.nn.ModuleList


class MultiViewAttention:
    """Self-attention over the tokens of all views of a frame; cross-attention to the text is per view."""

    def __init__(self, views: int):
        """Store the number of views of a frame."""
        self.views = views

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: None = None,
        **unused: Any,
    ) -> torch.Tensor:
        """Compute what diffusers' attention layer computes."""
        batch, tokens, width = hidden_states.shape
        x, text = hidden_states, encoder_hidden_states
        if text is None:
            x = text = x.reshape(batch // self.views, self.views * tokens, width)

        def split_heads(y: torch.Tensor) -> torch.Tensor:
            return y.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        inputs = split_heads(attn.to_q(x)), split_heads(attn.to_k(text)), split_heads(attn.to_v(text))
        mixed = torch.nn.functional.scaled_dot_product_attention(*inputs)
        return attn.to_out[0](mixed.transpose(1, 2).flatten(2)).reshape(batch, tokens, -1)


def networks(config: DifixConfig, views: int = 2) -> Original:
    """Build the networks of a layout, for frames of `views` views."""
    unet, vae = config.unet, config.vae
    num_attention = len(unet.channels) - 1
    denoiser = UNet2DConditionModel(
        in_channels=vae.latent,
        out_channels=vae.latent,
        down_block_types=("CrossAttnDownBlock2D",) * num_attention + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * num_attention,
        block_out_channels=unet.channels,
        layers_per_block=unet.layers,
        attention_head_dim=unet.heads,
        cross_attention_dim=unet.context,
        use_linear_projection=True,
    )
    denoiser.set_attn_processor(MultiViewAttention(views))
    autoencoder = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(vae.channels),
        up_block_types=("UpDecoderBlock2D",) * len(vae.channels),
        block_out_channels=vae.channels,
        layers_per_block=vae.layers,
        latent_channels=vae.latent,
        norm_num_groups=vae.groups,
    )
    coarse = vae.channels[::-1]
    sizes = zip([*coarse[1:], coarse[-1]], [coarse[0], *coarse[:-1]], strict=True)
    skips = torch.nn.ModuleList(torch.nn.Conv2d(source, target, 1, bias=False) for source, target in sizes)
    return Original(denoiser.eval(), autoencoder.eval(), skips)


def encode(original: Original, images: torch.Tensor, scaling: float) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Encode images to scaled latents; also return the input of every level of the encoder."""
    starts: list[torch.Tensor] = []
    hooks = [
        block.register_forward_pre_hook(lambda _, inputs: starts.append(inputs[0]))
        for block in original.vae.encoder.down_blocks
    ]
    latents = scaling * original.vae.encode(images).latent_dist.mean
    for hook in hooks:
        hook.remove()
    return latents, starts


def decode(original: Original, latents: torch.Tensor, starts: Sequence[torch.Tensor], scaling: float) -> torch.Tensor:
    """Decode latents to images; each level of the decoder adds its skip convolution, coarsest first."""
    decoder = original.vae.decoder
    x = decoder.mid_block(decoder.conv_in(original.vae.post_quant_conv(latents / scaling)))
    for block, skip, start in zip(decoder.up_blocks, original.skips, starts[::-1], strict=True):
        x = block(x + skip(start))
    return decoder.conv_out(torch.nn.functional.silu(decoder.conv_norm_out(x)))


def scheduler(timestep: int) -> Any:
    """Make the sampler of SD-Turbo, set to one timestep."""
    sampler = DDPMScheduler(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
    )
    sampler.set_timesteps(1)
    sampler.timesteps = torch.tensor([timestep])
    return sampler


def step(noise: torch.Tensor, latents: torch.Tensor, timestep: int) -> torch.Tensor:
    """Compute the clean latent from the predicted noise."""
    return scheduler(timestep).step(noise, timestep, latents).prev_sample


def repair(original: Original, images: torch.Tensor, text: torch.Tensor, config: DifixConfig) -> torch.Tensor:
    """Repair a frame (1, 3, H, W), given with its reference as images (2, 3, H, W), colors in [-1, 1]."""
    scaling = config.vae.scaling
    latents, starts = encode(original, images, scaling)
    time = torch.tensor([config.timestep], device=images.device)
    noise = original.unet(latents, time, text.expand(2, -1, -1)).sample
    clean = step(noise[:1], latents[:1], config.timestep)
    return decode(original, clean, [start[:1] for start in starts], scaling)
