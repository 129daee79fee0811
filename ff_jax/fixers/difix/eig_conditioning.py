"""How EIG enters the denoiser: as channels of its input, and as a factor in every transformer block.

The network sees EIG as a saturating value in [0, 1], 1 - exp(-EIG / scale) with EIG in nats: 0 where the recorded views
determine the scene, near 1 where they do not. The value of references is 0. It enters at two places (FaithFusion's
Difix):

* The first convolution has additional channels: EIG, and EIG times the latent (1 + the latent's channels). Their kernel
  is stored apart from the published one and starts at zero; one convolution of all channels is the sum of the two.
* In every transformer block, the normalized input of both attentions is multiplied by 1 + s EIG. EIG is averaged to the
  block's resolution, and each block learns its strength s from 0. (The paper's release fixes s at 0.3 and drops the map
  after the first block of each stage, so it reaches 7 of the 16 blocks; here it reaches all.)

With the initial parameters the network is plain Difix: bit for bit in float32, and in bfloat16 up to the rounding that
XLA may skip.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jax import Array
from jaxtyping import Float, PyTree

_MODULATED = ("norm1", "norm2")  # the norms before self- and cross-attention; norm3 is the feed-forward's
_BLOCK = "transformer_blocks_"


class EigCondition(NamedTuple):
    """Parameters and map that condition the denoiser on EIG."""

    params: PyTree  # from `init`
    eig: Float[Array, "B V h w"]  # saturated, in [0, 1], at the resolution of the latent


def init(unet: PyTree, latent: int) -> PyTree:
    """Make zero parameters {"conv_in": {"kernel"}, "strength": {name of a block: scalar}}, which change nothing.

    Args:
        unet: parameters of the denoiser, or their shapes.
        latent: channels of the latent.
    """
    height, width, _, channels = unet["conv_in"]["kernel"].shape
    kernel = jnp.zeros((height, width, 1 + latent, channels))
    return {"conv_in": {"kernel": kernel}, "strength": {name: jnp.zeros(()) for name in block_names(unet)}}


def block_names(unet: PyTree) -> list[str]:
    """List all transformer blocks, for instance "mid_block.attentions_0.transformer_blocks_0"."""
    paths = [path for path in flatten_dict(unet) if any(part.startswith(_BLOCK) for part in path)]
    return sorted({".".join(path[: 1 + next(i for i, p in enumerate(path) if p.startswith(_BLOCK))]) for path in paths})


def average_pool(eig: Float[Array, "*n H W"], factor: int) -> Float[Array, "*n h w"]:
    """Average a map over squares of `factor` pixels; both sides are multiples of it."""
    *batch, height, width = eig.shape
    return eig.reshape(*batch, height // factor, factor, width // factor, factor).mean((-3, -1))


def interceptor(condition: EigCondition, levels: int) -> Callable[..., Any]:
    """Make a `flax.linen.intercept_methods` interceptor that conditions diffusers' U-Net on EIG.

    Args:
        condition: parameters and map of the views that the U-Net sees as one batch (B V).
        levels: resolutions of the U-Net.
    """
    eig = condition.eig.reshape(-1, *condition.eig.shape[2:])
    maps = [average_pool(eig, 2**level) for level in range(levels)]
    # Levels differ in their number of tokens, which therefore identifies the map of a block.
    tokens = {level.shape[1] * level.shape[2]: level.reshape(len(level), -1, 1) for level in maps}

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        module, path = context.module, context.module.path
        out = call(*args, **kwargs)
        if context.method_name != "__call__" or not path:
            return out
        if path == ("conv_in",):
            return out + _first_conv(condition.params["conv_in"]["kernel"], args[0].astype(out.dtype), eig)
        if module.name in _MODULATED and path[-2].startswith(_BLOCK):
            strength = condition.params["strength"][".".join(path[:-1])]
            return out * (1.0 + strength * tokens[out.shape[1]]).astype(out.dtype)
        return out

    return intercept


def _first_conv(
    kernel: Float[Array, "y x k c"], latent: Float[Array, "N h w l"], eig: Float[Array, "N h w"]
) -> Float[Array, "N h w c"]:
    """Compute the part of the first convolution that comes from the channels EIG and EIG times latent."""
    channel = eig[..., None].astype(latent.dtype)
    extra = nn.Conv(kernel.shape[-1], kernel.shape[:2], padding=1, use_bias=False, dtype=latent.dtype, parent=None)
    return jnp.asarray(extra.apply({"params": {"kernel": kernel}}, jnp.concatenate([channel, channel * latent], -1)))
