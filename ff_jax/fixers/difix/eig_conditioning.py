"""How EIG enters the denoiser: as channels of its input, and as a gain in every transformer block.

The network sees EIG as a saturating value in [0, 1], 1 - exp(-EIG / scale) of EIG in nats: 0 where everything is known,
near 1 where nothing is. References are known: theirs is 0. It enters (FaithFusion's Difix) at two places:

* the first convolution has 5 channels more: EIG, and EIG times the latent (1 + the latent's channels). Their kernel is
  kept apart from the published one and starts at zero: one convolution of all channels is the sum of the two.
* both attentions of every transformer block see their normalised input times 1 + s EIG, EIG averaged over the block's
  resolution, with a strength s that each block learns from 0. (The paper's release fixes s at 0.3, and loses the map
  after the first block of each stage, so that 7 of the 16 blocks are reached; here every block is.)

At these first values the network is plain Difix: bit for bit in float32, and in bfloat16 but for XLA's freedom to round
less often than it is told.
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


class Guide(NamedTuple):
    """What guides the denoiser."""

    params: PyTree  # from `init`
    eig: Float[Array, "B V h w"]  # saturated, in [0, 1], at the resolution of the latent


def init(unet: PyTree, latent: int) -> PyTree:
    """Return guidance that does nothing yet: {"conv_in": {"kernel"}, "strength": {name of a block: scalar}}.

    Args:
        unet: parameters of the denoiser, or their shapes.
        latent: channels of the latent.
    """
    height, width, _, channels = unet["conv_in"]["kernel"].shape
    kernel = jnp.zeros((height, width, 1 + latent, channels))
    return {"conv_in": {"kernel": kernel}, "strength": {name: jnp.zeros(()) for name in blocks(unet)}}


def blocks(unet: PyTree) -> list[str]:
    """Return the names of all transformer blocks, for instance "mid_block.attentions_0.transformer_blocks_0"."""
    paths = [path for path in flatten_dict(unet) if any(part.startswith(_BLOCK) for part in path)]
    return sorted({".".join(path[: 1 + next(i for i, p in enumerate(path) if p.startswith(_BLOCK))]) for path in paths})


def coarser(eig: Float[Array, "*n H W"], factor: int) -> Float[Array, "*n h w"]:
    """Return the map averaged over squares of `factor` pixels; both sides are multiples of it."""
    *batch, height, width = eig.shape
    return eig.reshape(*batch, height // factor, factor, width // factor, factor).mean((-3, -1))


def interceptor(guide: Guide, levels: int) -> Callable[..., Any]:
    """Return a `flax.linen.intercept_methods` interceptor that guides diffusers' U-Net.

    Args:
        guide: parameters and map of the views that the U-Net sees as one batch (B V).
        levels: resolutions of the U-Net.
    """
    eig = guide.eig.reshape(-1, *guide.eig.shape[2:])
    maps = [coarser(eig, 2**level) for level in range(levels)]
    # Levels differ in their number of tokens, by which a block knows its own.
    tokens = {level.shape[1] * level.shape[2]: level.reshape(len(level), -1, 1) for level in maps}

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        module, path = context.module, context.module.path
        out = call(*args, **kwargs)
        if context.method_name != "__call__" or not path:
            return out
        if path == ("conv_in",):
            return out + _first(guide.params["conv_in"]["kernel"], args[0].astype(out.dtype), eig)
        if module.name in _MODULATED and path[-2].startswith(_BLOCK):
            strength = guide.params["strength"][".".join(path[:-1])]
            return out * (1.0 + strength * tokens[out.shape[1]]).astype(out.dtype)
        return out

    return intercept


def _first(
    kernel: Float[Array, "y x k c"], latent: Float[Array, "N h w l"], eig: Float[Array, "N h w"]
) -> Float[Array, "N h w c"]:
    """Return the share of the channels EIG and EIG times latent in the first convolution."""
    known = eig[..., None].astype(latent.dtype)
    extra = nn.Conv(kernel.shape[-1], kernel.shape[:2], padding=1, use_bias=False, dtype=latent.dtype, parent=None)
    return extra.apply({"params": {"kernel": kernel}}, jnp.concatenate([known, known * latent], -1))
