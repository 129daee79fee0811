"""Difix with references that are re-projected into the frame: their difference to it, at full resolution.

The published network finds matching content by attention between latents. A small network does not learn to do this
with pixel accuracy. Here `reprojection.align` provides the match, and two additions let the network use it and keep
exact what needs no repair:

* The encoder's first convolution also sees the difference of frame and reference, and EIG, through its own kernel that
  starts at zero (the reference's own encoding sees zeros there). The skip connections carry the features of both.
* The decoder predicts a correction of the frame and, as a fourth channel, the share of the difference that is added.
  An untrained network returns the frame.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, PyTree

from ff_jax.eig import INPUT_KAPPAS, eig_weight
from ff_jax.fixers.difix.config import DifixConfig

_CHANNELS = {"reference": 6, "eig": len(INPUT_KAPPAS) + 1}


def init_stem(config: DifixConfig) -> PyTree:
    """Make the zero kernels {"reference", "eig"} (3, 3, in, out) of the additional channels."""
    return {name: jnp.zeros((3, 3, count, config.vae.channels[0])) for name, count in _CHANNELS.items()}


def stem(
    params: PyTree,
    frames: Float[Array, "B H W 3"],
    eig: Float[Array, "B H W"] | None,
    references: Float[Array, "B H W 3"],
    config: DifixConfig,
) -> AbstractContextManager:
    """Open a context in which `vae.encode` of alternating frames and references (2 B) sees the additional channels.

    Args:
        params: of the whole network.
        frames: colors in [0, 1].
        eig: nats, not negative; None is zero everywhere.
        references: re-projected into the frames.
        config: the layout.
    """
    extra = _features(frames, jnp.zeros(frames.shape[:3]) if eig is None else eig, references)
    extra = jnp.stack([extra, jnp.zeros_like(extra)], 1).reshape(-1, *extra.shape[1:]).astype(config.dtype)
    kernel = jnp.concatenate([params["guidance"]["stem"][name] for name in _CHANNELS], 2)

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        out = call(*args, **kwargs)
        if context.method_name != "__call__" or context.module.path != ("encoder", "conv_in"):
            return out
        first = nn.Conv(kernel.shape[-1], kernel.shape[:2], padding=1, use_bias=False, dtype=out.dtype, parent=None)
        return out + first.apply({"params": {"kernel": kernel}}, extra)

    return nn.intercept_methods(intercept)


def stack_views(features: Float[Array, "B2 h w c"]) -> Float[Array, "B h w d"]:
    """Concatenate the features of each frame and of its reference along the channels."""
    return jnp.concatenate([features[::2], features[1::2]], -1)


def combine(
    decoded: Float[Array, "B H W 4"], frames: Float[Array, "B H W 3"], references: Float[Array, "B H W 3"]
) -> Float[Array, "B H W 3"]:
    """Compute frame + correction + share (reference - frame), not clipped."""
    return frames + decoded[..., :3] + decoded[..., 3:] * (references - frames)


def _features(
    frames: Float[Array, "B H W 3"], eig: Float[Array, "B H W"], references: Float[Array, "B H W 3"]
) -> Float[Array, "B H W c"]:
    difference = references - frames
    eig_features = [eig_weight(eig, scale) for scale in INPUT_KAPPAS] + [jnp.log1p(eig)]
    return jnp.concatenate([difference, jnp.abs(difference), jnp.stack(eig_features, -1)], -1)
