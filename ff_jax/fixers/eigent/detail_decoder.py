"""What the decoder of a small video autoencoder cannot know from latents alone: render and reference, pixel by pixel.

Small latents lose detail that the render has. As the image fixer's decoder sees what its encoder saw (one-step image
translation, arXiv 2403.12036, section 3.2), this one sees features of the render, of its difference to the re-projected
reference and of EIG, at each of its resolutions. It gives a correction of the render, and as a fourth channel the share
of the difference that is taken over: where nothing is to be repaired, the render stays exact.
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from ff_jax.eig import eig_weight
from ff_jax.fixers.eigent.network_config import VaeConfig
from ff_jax.fixers.eigent.vae_layers import Down

_SCALES = (0.1, 0.5, 2.0)  # nats: how finely EIG is told
CHANNELS = 9 + len(_SCALES) + 1


class Change(NamedTuple):
    """What a repair does to a render: see `change`."""

    correction: Array  # (B, T, H, W, 3), added
    share: Array  # (B, T, H, W, 1), of the difference to the reference


class Details(nn.Module):
    """Features of a clip for the decoder, coarsest first; zero before training."""

    config: VaeConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W c"]) -> list[Float[Array, "B _ _ _ _"]]:
        """Return one array per resolution, with the channels that the decoder has there at first."""
        widths, found = self.config.widths, []
        for level, width in enumerate(widths):
            for layer in range(2):
                x = nn.silu(nn.Conv(width, (1, 3, 3), dtype=self.dtype, name=f"conv_{level}_{layer}")(x))
            taken, zero = widths[min(level + 1, len(widths) - 1)], nn.initializers.zeros
            found.append(nn.Conv(taken, (1, 1, 1), dtype=self.dtype, kernel_init=zero, name=f"out_{level}")(x))
            if level < len(widths) - 1:
                x = Down(level < self.config.halvings, self.dtype, name=f"down_{level}")(x)
        return found[::-1]


def features(
    frames: Float[Array, "B T H W 3"], eig: Float[Array, "B T H W"], references: Float[Array, "B T H W 3"]
) -> Float[Array, "B T H W c"]:
    """Return what `Details` sees.

    Args:
        frames: colours in [0, 1].
        eig: nats, not negative.
        references: re-projected into the frames.
    """
    difference = references - frames
    known = [eig_weight(eig, scale) for scale in _SCALES] + [jnp.log1p(eig)]
    return jnp.concatenate([2.0 * frames - 1.0, difference, jnp.abs(difference), jnp.stack(known, -1)], -1)


def change(decoded: Float[Array, "B T H W 4"]) -> Change:
    """Return what the decoder's channels mean."""
    return Change(decoded[..., :3], decoded[..., 3:])


def apply(
    made: Change, frames: Float[Array, "*B H W 3"], references: Float[Array, "*B H W 3"]
) -> Float[Array, "*B H W 3"]:
    """Return frames + correction + share (references - frames), not clipped."""
    return frames + made.correction + made.share * (references - frames)
