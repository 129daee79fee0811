"""Layers of the causal video autoencoder of CogVideoX (Yang et al. 2024, arXiv 2408.06072).

Convolutions are causal in time, so a video is processed in chunks of frames. A chunk needs the last two input frames of
each convolution from the chunk before. They are in the collection "cache": apply with `mutable=["cache"]` and pass the
cache to the next chunk. Without a cache, the first frame is repeated. Normalizations use the statistics of the chunk,
so the length of chunks is part of the network.

The first chunk of a video has an odd number of frames, and its first frame is kept apart when the number of frames is
halved or doubled; later chunks have an even number.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from ff_jax.fixers.eigent.network_config import VideoVaeConfig

_TIME = 3  # frames that a convolution sees
_EPSILON = 1e-6


class CausalConv(nn.Module):
    """3 x 3 x 3 convolution over (t, y, x), causal in time."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W features"]:
        """Convolve; the borders of the image are padded by 0."""
        before = jnp.repeat(x[:, :1], _TIME - 1, 1)
        if self.has_variable("cache", "frames"):
            before = self.get_variable("cache", "frames")
        x = jnp.concatenate([before.astype(x.dtype), x], 1)
        self.put_variable("cache", "frames", x[:, 1 - _TIME :])
        padding = ((0, 0), (1, 1), (1, 1))
        return nn.Conv(self.features, (_TIME, 3, 3), padding=padding, dtype=self.dtype, name="conv")(x)


class Norm(nn.Module):
    """Group normalization; latents, if any, scale and shift the result pixel by pixel."""

    groups: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T H W C"], latents: Float[Array, "B t h w c"] | None = None
    ) -> Float[Array, "B T H W C"]:
        """Normalize x; statistics are over all frames of the chunk."""
        norm = nn.GroupNorm(
            self.groups, epsilon=_EPSILON, dtype=self.dtype, use_fast_variance=False, name="norm_layer"
        )  # fmt: skip
        if latents is None:
            return norm(x)
        # A pointwise convolution commutes with nearest-neighbor upsampling: convolve the smaller array.
        scale, shift = (
            _nearest(nn.Conv(x.shape[-1], (1, 1, 1), dtype=self.dtype, name=name)(latents), x.shape)
            for name in ("conv_y", "conv_b")
        )
        return norm(x) * scale + shift


def _nearest(x: Float[Array, "B t h w C"], shape: tuple[int, ...]) -> Float[Array, "B T H W C"]:
    """Repeat pixels and frames up to `shape`; in the first chunk of a video, the first frame is not repeated."""
    alone = shape[1] % 2
    if shape[1] > alone:
        times = (shape[1] - alone) // (x.shape[1] - alone)
        x = jnp.concatenate([x[:, :alone], jnp.repeat(x[:, alone:], times, 1)], 1)
    return jnp.repeat(jnp.repeat(x, shape[2] // x.shape[2], 2), shape[3] // x.shape[3], 3)


class ResBlock(nn.Module):
    """Two causal convolutions, added to their input."""

    features: int
    groups: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T H W C"], latents: Float[Array, "B t h w c"] | None = None
    ) -> Float[Array, "B T H W features"]:
        """Add the output of the convolutions to x."""
        y = x
        for number in (1, 2):
            y = nn.silu(Norm(self.groups, self.dtype, name=f"norm{number}")(y, latents))
            y = CausalConv(self.features, self.dtype, name=f"conv{number}")(y)
        if x.shape[-1] != self.features:
            x = nn.Conv(self.features, (1, 1, 1), dtype=self.dtype, name="conv_shortcut")(x)
        return x + y


class Down(nn.Module):
    """Halve height and width, and the number of frames by averages of two."""

    halve_time: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B t h w C"]:
        """Reduce the video."""
        if self.halve_time:
            b, t, *rest = x.shape
            alone = t % 2
            pairs = x[:, alone:].reshape(b, t // 2, 2, *rest)
            x = jnp.concatenate([x[:, :alone], pairs.mean(2)], 1)
        padding = ((0, 1), (0, 1))
        return nn.Conv(x.shape[-1], (3, 3), (2, 2), padding=padding, dtype=self.dtype, name="conv")(x)


class Up(nn.Module):
    """Double height and width, and the number of frames, by repetition, then smooth each frame by a convolution."""

    double_time: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B t h w C"]) -> Float[Array, "B T H W C"]:
        """Enlarge the video."""
        b, t, h, w, c = x.shape
        alone = t % 2
        frames = 2 * t - alone if self.double_time else t
        x = _nearest(x, (b, frames, 2 * h, 2 * w, c)) if self.double_time else jnp.repeat(jnp.repeat(x, 2, 2), 2, 3)
        return nn.Conv(c, (3, 3), dtype=self.dtype, name="conv")(x)


class VideoEncoder(nn.Module):
    """The encoder: from a chunk of frames, colors in [-1, 1], to mean and log-variance of its latents."""

    config: VideoVaeConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W 3"]) -> Float[Array, "B t h w C"]:
        """Compute mean and log-variance, concatenated along the channels."""
        config, groups = self.config, self.config.groups
        x = CausalConv(config.widths[0], self.dtype, name="conv_in")(x)
        for level, width in enumerate(config.widths):
            for layer in range(config.layers):
                x = ResBlock(width, groups, self.dtype, name=f"down_{level}_{layer}")(x)
            if level < len(config.widths) - 1:
                x = Down(level < config.halvings, self.dtype, name=f"down_{level}")(x)
        for layer in range(2):
            x = ResBlock(config.widths[-1], groups, self.dtype, name=f"mid_{layer}")(x)
        x = nn.silu(Norm(groups, self.dtype, name="norm_out")(x))
        return CausalConv(2 * config.latent_channels, self.dtype, name="conv_out")(x)


class VideoDecoder(nn.Module):
    """The decoder: from a chunk of latents to frames, colors in [-1, 1]."""

    config: VideoVaeConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, latents: Float[Array, "B t h w C"], details: list[Float[Array, "B _ _ _ _"]] | None = None
    ) -> Float[Array, "B T H W out"]:
        """Compute the frames; `details` are added to the input of each resolution, coarsest first."""
        config, groups = self.config, self.config.groups
        x = CausalConv(config.widths[-1], self.dtype, name="conv_in")(latents)
        for layer in range(2):
            x = ResBlock(config.widths[-1], groups, self.dtype, name=f"mid_{layer}")(x, latents)
        for level, width in enumerate(config.widths[::-1]):
            x = x if details is None else x + details[level]
            for layer in range(config.layers + 1):
                x = ResBlock(width, groups, self.dtype, name=f"up_{level}_{layer}")(x, latents)
            if level < len(config.widths) - 1:
                x = Up(level < config.halvings, self.dtype, name=f"up_{level}")(x)
        x = nn.silu(Norm(groups, self.dtype, name="norm_out")(x, latents))
        return CausalConv(config.out_channels, self.dtype, name="conv_out")(x)
