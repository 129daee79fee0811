"""Blocks of the video transformer: text and video tokens side by side, joint attention, modulation by the time step.

Structure of CogVideoX (Yang et al. 2024, arXiv 2408.06072): adaptive layer normalization with gates (Peebles and Xie
2023, arXiv 2212.09748) of text and video each, normalized queries and keys. B videos, L text and N video tokens.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Num

from ff_jax.fixers.attention import Implementation, attention
from ff_jax.fixers.eigent.network_config import DitConfig
from ff_jax.fixers.eigent.positional_encoding import RotaryAngles, prepend_identity, rotate

_MAX_PERIOD = 10000.0
_OFFSET = 2.0  # the constant that CogVideoX 1.5 from images was trained with
_EPSILON = 1e-5  # of layer normalization
_HEAD_EPSILON = 1e-6  # of the normalization of queries and keys


def layer_norm(name: str, dtype: DTypeLike, epsilon: float = _EPSILON) -> nn.LayerNorm:
    """Build a layer normalization with scale and bias; its statistics are in float32 in two passes."""
    return nn.LayerNorm(epsilon=epsilon, dtype=dtype, use_fast_variance=False, name=name)


class TimeEmbedding(nn.Module):
    """Embedding of the time step, plus that of a constant if configured; each is waves through a small network."""

    config: DitConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, t: Num[Array, "B"]) -> Float[Array, "B time_dim"]:
        """Embed time steps t in [0, 1000)."""
        embedding = self._embed(t, self.config.width, "linear")
        if self.config.offset_dim:
            embedding += self._embed(jnp.full(1, _OFFSET), self.config.offset_dim, "offset")
        return embedding

    def _embed(self, t: Num[Array, "B"], width: int, name: str) -> Float[Array, "B time_dim"]:
        half = width // 2
        angles = t[:, None] * _MAX_PERIOD ** (-jnp.arange(half) / half)
        waves = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)
        hidden = nn.silu(nn.Dense(self.config.time_dim, dtype=self.dtype, name=f"{name}_1")(waves))
        return nn.Dense(self.config.time_dim, dtype=self.dtype, name=f"{name}_2")(hidden)


class PatchEmbed(nn.Module):
    """One token of `features` channels per patch of size x size pixels of `frames` latent frames.

    The kernel is (size, size, channels, features), with a leading axis of frames if there are several.
    """

    features: int
    size: int
    frames: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, latents: Float[Array, "B F h w C"]) -> Float[Array, "B N features"]:
        """Compute the tokens in the order (frame, row, column)."""
        b, f, h, w, c = latents.shape
        p, s = self.size, self.frames
        shape = (s, p, p, c, self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape if s > 1 else shape[1:]).reshape(shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        latents, kernel, bias = (x.astype(self.dtype) for x in (latents, kernel, bias))
        # An equivalent product instead of a strided convolution: fast inside loops on every backend.
        patches = latents.reshape(b, f // s, s, h // p, p, w // p, p, c)
        return jnp.einsum("bfsypxqc,spqcd->bfyxd", patches, kernel).reshape(b, -1, self.features) + bias


def unpatch(
    tokens: Float[Array, "B N C"], grid: tuple[int, int, int], size: int, frames: int = 1
) -> Float[Array, "B F h w c"]:
    """Arrange tokens as latents; their channels are in the published order (c, frame, row, column)."""
    t, y, x = grid
    parts = tokens.reshape(len(tokens), t, y, x, -1, frames, size, size)
    return parts.transpose(0, 1, 5, 2, 6, 3, 7, 4).reshape(len(tokens), t * frames, y * size, x * size, -1)


class Modulated(nn.Module):
    """Layer normalization with shift, scale and gate from the time embedding, separate for each stream of tokens."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, time: Float[Array, "B time_dim"], *streams: Float[Array, "B _ width"]
    ) -> list[tuple[Array, Array]]:
        """Normalize and modulate each stream; also return its gate (B, 1, width)."""
        out = nn.Dense(3 * len(streams) * streams[0].shape[-1], dtype=self.dtype, name="linear")(nn.silu(time))
        parts = jnp.split(out[:, None], 3 * len(streams), -1)
        norm = layer_norm("norm", self.dtype)
        modulation = zip(streams, parts[::3], parts[1::3], parts[2::3], strict=True)
        return [(norm(stream) * (1 + scale) + shift, gate) for stream, shift, scale, gate in modulation]


class Attention(nn.Module):
    """Attention with normalized queries and keys, rotated by position."""

    config: DitConfig
    dtype: DTypeLike = jnp.float32
    implementation: Implementation | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "B M width"], context: Float[Array, "B N width"], angles: RotaryAngles | None
    ) -> Float[Array, "B M width"]:
        """Attend from the tokens of x to those of the context, which have the same positions."""
        dense = lambda name: nn.Dense(self.config.width, dtype=self.dtype, name=name)
        split = lambda y: y.reshape(*y.shape[:2], self.config.heads, self.config.head_dim)
        q, k, v = (split(dense(name)(y)) for name, y in (("to_q", x), ("to_k", context), ("to_v", context)))
        q, k = (layer_norm(f"norm_{name}", self.dtype, _HEAD_EPSILON)(y) for name, y in (("q", q), ("k", k)))
        if angles is not None:
            q, k = rotate(q, angles), rotate(k, angles)
        return dense("to_out")(attention(q, k, v, self.implementation).reshape(x.shape))


class TransformerBlock(nn.Module):
    """Joint attention of text and video, then a two-layer network per token; both are gated and added."""

    config: DitConfig
    dtype: DTypeLike = jnp.float32
    implementation: Implementation | None = None

    @nn.compact
    def __call__(
        self,
        text: Float[Array, "B L width"],
        video: Float[Array, "B N width"],
        time: Float[Array, "B time_dim"],
        angles: RotaryAngles | None,
    ) -> tuple[Array, Array]:
        """Compute text (B, L, width) and video (B, N, width) after the block."""
        return self.feed(*self.attend(text, video, time, angles), time)

    def attend(
        self,
        text: Float[Array, "B L width"],
        video: Float[Array, "B N width"],
        time: Float[Array, "B time_dim"],
        angles: RotaryAngles | None,
    ) -> tuple[Array, Array]:
        """Add the joint attention; positions rotate the video's tokens."""
        length = text.shape[1]
        (normed, gate), (normed_text, text_gate) = Modulated(self.dtype, name="norm1")(time, video, text)
        joint = jnp.concatenate([normed_text, normed], 1)
        angles = None if angles is None else prepend_identity(angles, length)
        joint = Attention(self.config, self.dtype, self.implementation, name="attn1")(joint, joint, angles)
        return text + text_gate * joint[:, :length], video + gate * joint[:, length:]

    def feed(
        self, text: Float[Array, "B L width"], video: Float[Array, "B N width"], time: Float[Array, "B time_dim"]
    ) -> tuple[Array, Array]:
        """Add the network per token."""
        length, width = text.shape[1], self.config.width
        (normed, gate), (normed_text, text_gate) = Modulated(self.dtype, name="norm2")(time, video, text)
        joint = jnp.concatenate([normed_text, normed], 1)
        joint = nn.gelu(nn.Dense(4 * width, dtype=self.dtype, name="ff_in")(joint), approximate=True)
        joint = nn.Dense(width, dtype=self.dtype, name="ff_out")(joint)
        return text + text_gate * joint[:, :length], video + gate * joint[:, length:]
