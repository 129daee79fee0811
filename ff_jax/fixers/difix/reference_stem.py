"""Difix with references that are re-projected into the frame: what they show where, at full resolution.

The published network finds matching content by attention between latents, which no small network learns to do to the
pixel. `generators.align` gives the match; two things let the network use it, and keep its result exact where nothing
is to be repaired:

* the encoder's first convolution sees, beside the frame, its difference to the reference and EIG, through a kernel of
  its own that starts at zero (the reference's own encoding sees zeros there), and the skip connections carry the
  features of both;
* the decoder gives a correction of the frame and, as a fourth channel, the share of the difference that is taken over.
  An untrained network leaves the frame as it is.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, PyTree

from ff_jax.eig import eig_weight
from ff_jax.fixers.difix.config import DifixConfig

_SCALES = (0.1, 0.5, 2.0)  # nats: how finely EIG is told
_CHANNELS = {"reference": 6, "eig": len(_SCALES) + 1}


def init_stem(config: DifixConfig) -> PyTree:
    """Return the kernels {"reference", "eig"} (3, 3, in, out) of the additional channels, zero."""
    return {name: jnp.zeros((3, 3, count, config.vae.channels[0])) for name, count in _CHANNELS.items()}


def stem(
    params: PyTree,
    frames: Float[Array, "B H W 3"],
    eig: Float[Array, "B H W"] | None,
    references: Float[Array, "B H W 3"],
    config: DifixConfig,
) -> AbstractContextManager:
    """Return a context in which `vae.encode` of frames and references in turn (B 2) sees the additional channels.

    Args:
        params: of the whole network.
        frames: colours in [0, 1].
        eig: nats, not negative; None tells the encoder that everything is known.
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


def both(start: Float[Array, "B2 h w c"]) -> Float[Array, "B h w d"]:
    """Return the features of a frame and of its reference as channels of one."""
    return jnp.concatenate([start[::2], start[1::2]], -1)


def combine(
    decoded: Float[Array, "B H W 4"], frames: Float[Array, "B H W 3"], references: Float[Array, "B H W 3"]
) -> Float[Array, "B H W 3"]:
    """Return frame + correction + share (reference - frame), not clipped."""
    return frames + decoded[..., :3] + decoded[..., 3:] * (references - frames)


def _features(
    frames: Float[Array, "B H W 3"], eig: Float[Array, "B H W"], references: Float[Array, "B H W 3"]
) -> Float[Array, "B H W c"]:
    difference = references - frames
    known = [eig_weight(eig, scale) for scale in _SCALES] + [jnp.log1p(eig)]
    return jnp.concatenate([difference, jnp.abs(difference), jnp.stack(known, -1)], -1)
