"""The autoencoder: diffusers' AutoencoderKL with skip connections from the encoder to the decoder.

Before each of its levels the decoder adds the input of the encoder's level of that resolution, through a 1 x 1
convolution without bias (one-step image translation, arXiv 2403.12036, section 3.2). These skips carry the detail that
the eight-fold smaller latents lose. The modules of diffusers are not changed: `flax.linen.intercept_methods` reads
from the encoder and adds to the decoder.
"""

import functools
from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, PyTree

from ff_jax.fixers.difix.config import DifixConfig
from ff_jax.fixers.difix.diffusers_flax import FlaxAutoencoderKL, FlaxDownEncoderBlock2D, FlaxUpDecoderBlock2D

_INITIAL = 1e-5  # every entry of an untrained skip convolution


def network(config: DifixConfig) -> FlaxAutoencoderKL:
    """Build diffusers' module; its images and results are (batch, channels, height, width)."""
    vae = config.vae
    levels = len(vae.channels)
    return FlaxAutoencoderKL(
        out_channels=3 + config.use_aligned_references,  # the share of the reference: see `reference_stem`
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=vae.channels,
        layers_per_block=vae.layers,
        latent_channels=vae.latent,
        norm_num_groups=vae.groups,
        scaling_factor=vae.scaling,
        dtype=jnp.dtype(config.dtype),
    )


@functools.cache
def shapes(config: DifixConfig) -> PyTree:
    """Compute shape and dtype of every parameter but the skip convolutions'."""
    image = jax.ShapeDtypeStruct((1, 3, config.reduction, config.reduction), jnp.float32)
    return jax.eval_shape(network(config).init, jax.random.key(0), image)["params"]


def init_skips(config: DifixConfig) -> PyTree:
    """Make untrained skip convolutions {"skip_conv_1": {"kernel": (1, 1, in, out)}, ...}, coarsest first.

    With aligned references their inputs are the features of the frame and then those of its reference.
    """
    up = config.vae.channels[::-1]
    # The input of a level is the output of the finer one, that of the finest level the first convolution's.
    in_channels = [(1 + config.use_aligned_references) * channels for channels in (*up[1:], up[-1])]
    out_channels = [up[0], *up[:-1]]
    pairs = enumerate(zip(in_channels, out_channels, strict=True), 1)
    return {f"skip_conv_{level}": {"kernel": jnp.full((1, 1, *pair), _INITIAL)} for level, pair in pairs}


def encode(
    params: PyTree, images: Float[Array, "N H W 3"], config: DifixConfig
) -> tuple[Float[Array, "N h w c"], list[Array]]:
    """Encode images: latents, scaled for the U-Net, and the input features of each encoder level (finest first).

    The latent is the mean of the encoder's distribution, so equal images have equal latents. (The published fixer
    samples that distribution, whose deviation is small.)

    Args:
        params: of the autoencoder.
        images: colors in [-1, 1]; sides are multiples of 2^(levels - 1).
        config: the layout.
    """
    features: list[Array] = []

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        if context.method_name == "__call__" and isinstance(context.module, FlaxDownEncoderBlock2D):
            features.append(args[0])
        return call(*args, **kwargs)

    with nn.intercept_methods(intercept):
        out = network(config).apply({"params": params}, images.transpose(0, 3, 1, 2), method=FlaxAutoencoderKL.encode)
    return (config.vae.scaling * cast(Any, out).latent_dist.mode()).astype(images.dtype), features


def decode(
    params: PyTree, skips: PyTree, latents: Float[Array, "N h w l"], features: list[Array], config: DifixConfig
) -> Float[Array, "N H W c"]:
    """Decode images, colors about [-1, 1], not clipped; with aligned references the input of `combine`.

    Args:
        params: of the autoencoder.
        skips: skip convolutions.
        latents: scaled as `encode` does.
        features: second result of `encode`; with aligned references, frame and reference stacked along the channels.
        config: the layout.
    """
    dtype = jnp.dtype(config.dtype)
    kernels = [skips[f"skip_conv_{level}"]["kernel"][0, 0] for level in range(1, len(features) + 1)]
    pending = iter(
        [level.astype(dtype) @ kernel.astype(dtype) for level, kernel in zip(features[::-1], kernels, strict=True)]
    )

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        if context.method_name == "__call__" and isinstance(context.module, FlaxUpDecoderBlock2D):
            args = (args[0] + next(pending), *args[1:])
        return call(*args, **kwargs)

    with nn.intercept_methods(intercept):
        scaled = latents / config.vae.scaling
        out = network(config).apply({"params": params}, scaled, method=FlaxAutoencoderKL.decode)
    return cast(Any, out).sample.transpose(0, 2, 3, 1).astype(latents.dtype)
