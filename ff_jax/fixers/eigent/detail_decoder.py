"""Full-resolution inputs of a small video autoencoder's decoder: render and reference, pixel by pixel.

Small latents lose detail that the render has. As the image fixer's decoder sees its encoder's features (one-step image
translation, arXiv 2403.12036, section 3.2), this decoder sees features of the render, of its difference to the
re-projected reference and of EIG, at each of its resolutions. It predicts a correction of the render and, as a fourth
channel, the share of the difference that is added. Where nothing needs repair, the render stays exact.
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from ff_jax.eig import INPUT_KAPPAS, eig_weight
from ff_jax.fixers.eigent.network_config import VideoVaeConfig
from ff_jax.fixers.eigent.vae_layers import Down

CHANNELS = 9 + len(INPUT_KAPPAS) + 1


class Change(NamedTuple):
    """The change of a render: see `apply`."""

    correction: Array  # (B, T, H, W, 3), added
    share: Array  # (B, T, H, W, 1), of the difference to the reference


class Details(nn.Module):
    """Features of a clip for the decoder, coarsest first; zero before training."""

    config: VideoVaeConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W c"]) -> list[Float[Array, "B _ _ _ _"]]:
        """Compute one array per resolution, with the channels of the decoder's input there."""
        widths, features = self.config.widths, []
        for level, width in enumerate(widths):
            for layer in range(2):
                x = nn.silu(nn.Conv(width, (1, 3, 3), dtype=self.dtype, name=f"conv_{level}_{layer}")(x))
            channels, zero = widths[min(level + 1, len(widths) - 1)], nn.initializers.zeros
            features.append(nn.Conv(channels, (1, 1, 1), dtype=self.dtype, kernel_init=zero, name=f"out_{level}")(x))
            if level < len(widths) - 1:
                x = Down(level < self.config.halvings, self.dtype, name=f"down_{level}")(x)
        return features[::-1]


def features(
    frames: Float[Array, "B T H W 3"], eig: Float[Array, "B T H W"], references: Float[Array, "B T H W 3"]
) -> Float[Array, "B T H W c"]:
    """Compute the input of `Details`.

    Args:
        frames: colors in [0, 1].
        eig: nats, not negative.
        references: re-projected into the frames.
    """
    difference = references - frames
    eig_features = [eig_weight(eig, scale) for scale in INPUT_KAPPAS] + [jnp.log1p(eig)]
    return jnp.concatenate([2.0 * frames - 1.0, difference, jnp.abs(difference), jnp.stack(eig_features, -1)], -1)


def split_channels(decoded: Float[Array, "B T H W 4"]) -> Change:
    """Split the decoder's channels into correction and share."""
    return Change(decoded[..., :3], decoded[..., 3:])


def apply(
    change: Change, frames: Float[Array, "*B H W 3"], references: Float[Array, "*B H W 3"]
) -> Float[Array, "*B H W 3"]:
    """Compute frames + correction + share (references - frames), not clipped."""
    return frames + change.correction + change.share * (references - frames)
