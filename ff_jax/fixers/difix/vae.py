"""The autoencoder: diffusers' AutoencoderKL, whose decoder also sees what the encoder's levels start from.

Before each of its levels the decoder adds what the encoder of the same image had before its level of that resolution,
through a 1 x 1 convolution without bias (one-step image translation, arXiv 2403.12036, section 3.2). They carry the
detail that eight-fold smaller latents lose. The modules of diffusers stay as they are; `flax.linen.intercept_methods`
reads the one and adds to the other.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from diffusers.models.vae_flax import FlaxAutoencoderKL, FlaxDownEncoderBlock2D, FlaxUpDecoderBlock2D
from jax import Array
from jaxtyping import Float, PyTree

from ff_jax.fixers.difix.config import DifixConfig

_FIRST = 1e-5  # every entry of an untrained skip convolution


def network(config: DifixConfig) -> FlaxAutoencoderKL:
    """Return diffusers' module; it takes images and gives (batch, channels, height, width)."""
    vae = config.vae
    levels = len(vae.channels)
    return FlaxAutoencoderKL(
        out_channels=3 + config.aligned,  # the share of the reference, see `aligned`
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
    """Return shape and dtype of every parameter but the skip convolutions'."""
    image = jax.ShapeDtypeStruct((1, 3, config.reduction, config.reduction), jnp.float32)
    return jax.eval_shape(network(config).init, jax.random.key(0), image)["params"]


def init_skips(config: DifixConfig) -> PyTree:
    """Return the untrained skip convolutions {"skip_conv_1": {"kernel": (1, 1, in, out)}, ...}, coarsest first.

    With aligned references their inputs are the features of the frame and then those of its reference.
    """
    up = config.vae.channels[::-1]
    # Levels start from what the finer one ends with, the finest from the first convolution.
    given = [(1 + config.aligned) * channels for channels in (*up[1:], up[-1])]
    taken = [up[0], *up[:-1]]
    pairs = enumerate(zip(given, taken, strict=True), 1)
    return {f"skip_conv_{level}": {"kernel": jnp.full((1, 1, *pair), _FIRST)} for level, pair in pairs}


def encode(
    params: PyTree, images: Float[Array, "N H W 3"], config: DifixConfig
) -> tuple[Float[Array, "N h w c"], list[Array]]:
    """Return the latents, scaled for the U-Net, and what each level of the encoder starts from (finest first).

    The latent is the mean of the encoder's distribution: the same image always has the same latent. (The published
    fixer draws from that distribution, whose deviation is small.)

    Args:
        params: of the autoencoder.
        images: colours in [-1, 1]; sides are multiples of 2^(levels - 1).
        config: the layout.
    """
    starts: list[Array] = []

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        if context.method_name == "__call__" and isinstance(context.module, FlaxDownEncoderBlock2D):
            starts.append(args[0])
        return call(*args, **kwargs)

    with nn.intercept_methods(intercept):
        found = network(config).apply({"params": params}, images.transpose(0, 3, 1, 2), method=FlaxAutoencoderKL.encode)
    return (config.vae.scaling * found.latent_dist.mode()).astype(images.dtype), starts


def decode(
    params: PyTree, skips: PyTree, latents: Float[Array, "N h w l"], starts: list[Array], config: DifixConfig
) -> Float[Array, "N H W c"]:
    """Return images, colours about [-1, 1], not clipped; with aligned references what `aligned` makes them of.

    Args:
        params: of the autoencoder.
        skips: skip convolutions.
        latents: scaled as `encode` does.
        starts: second result of `encode`; with aligned references, the frame's and the reference's channels in one.
        config: the layout.
    """
    dtype = jnp.dtype(config.dtype)
    kernels = [skips[f"skip_conv_{level}"]["kernel"][0, 0] for level in range(1, len(starts) + 1)]
    pending = iter(
        [start.astype(dtype) @ kernel.astype(dtype) for start, kernel in zip(starts[::-1], kernels, strict=True)]
    )

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        if context.method_name == "__call__" and isinstance(context.module, FlaxUpDecoderBlock2D):
            args = (args[0] + next(pending), *args[1:])
        return call(*args, **kwargs)

    with nn.intercept_methods(intercept):
        scaled = latents / config.vae.scaling
        images = network(config).apply({"params": params}, scaled, method=FlaxAutoencoderKL.decode).sample
    return images.transpose(0, 2, 3, 1).astype(latents.dtype)
