"""Blocks of the video transformer: text and video tokens side by side, joint attention, modulation by the time step.

Structure of CogVideoX (Yang et al. 2024, arXiv 2408.06072): adaptive layer normalisation with gates (Peebles and Xie
2023, arXiv 2212.09748) of text and video each, normalised queries and keys. B videos, L text and N video tokens.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Num

from ff_jax.fixers.attention import attention
from ff_jax.fixers.eigent.network_config import DitConfig
from ff_jax.fixers.eigent.positional_encoding import Turns, after_still, rotate

_MAX_PERIOD = 10000.0
_OFFSET = 2.0  # the constant that CogVideoX 1.5 from images was trained with
_EPSILON = 1e-5  # of layer normalisation
_HEAD_EPSILON = 1e-6  # of the normalisation of queries and keys


def layer_norm(name: str, dtype: DTypeLike, epsilon: float = _EPSILON) -> nn.LayerNorm:
    """Return a layer normalisation with scale and bias; its statistics are in float32 in two passes."""
    return nn.LayerNorm(epsilon=epsilon, dtype=dtype, use_fast_variance=False, name=name)


class TimeEmbedding(nn.Module):
    """Embedding of the time step, and of a constant where there is one: waves through a small network each."""

    config: DitConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, t: Num[Array, "B"]) -> Float[Array, "B time_dim"]:
        """Return the embeddings of time steps t in [0, 1000)."""
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

    The kernel is (size, size, channels, features), led by an axis of frames where there are several.
    """

    features: int
    size: int
    frames: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, latents: Float[Array, "B F h w C"]) -> Float[Array, "B N features"]:
        """Return the tokens in the order (frame, row, column)."""
        b, f, h, w, c = latents.shape
        p, s = self.size, self.frames
        shape = (s, p, p, c, self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape if s > 1 else shape[1:]).reshape(shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        latents, kernel, bias = (x.astype(self.dtype) for x in (latents, kernel, bias))
        # A product instead of a strided convolution: what it is, and fast inside loops on every backend.
        patches = latents.reshape(b, f // s, s, h // p, p, w // p, p, c)
        return jnp.einsum("bfsypxqc,spqcd->bfyxd", patches, kernel).reshape(b, -1, self.features) + bias


def unpatch(
    tokens: Float[Array, "B N C"], grid: tuple[int, int, int], size: int, frames: int = 1
) -> Float[Array, "B F h w c"]:
    """Return the latents whose patches the tokens hold, channels in the order (c, frame, row, column) as published."""
    t, y, x = grid
    parts = tokens.reshape(len(tokens), t, y, x, -1, frames, size, size)
    return parts.transpose(0, 1, 5, 2, 6, 3, 7, 4).reshape(len(tokens), t * frames, y * size, x * size, -1)


class Modulated(nn.Module):
    """Layer normalisation with shift, scale and gate from the time embedding, own ones for each stream of tokens."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, time: Float[Array, "B time_dim"], *streams: Float[Array, "B _ width"]
    ) -> list[tuple[Array, Array]]:
        """Return each stream, normalised and modulated, with its gate (B, 1, width)."""
        out = nn.Dense(3 * len(streams) * streams[0].shape[-1], dtype=self.dtype, name="linear")(nn.silu(time))
        parts = jnp.split(out[:, None], 3 * len(streams), -1)
        norm = layer_norm("norm", self.dtype)
        modulation = zip(streams, parts[::3], parts[1::3], parts[2::3], strict=True)
        return [(norm(stream) * (1 + scale) + shift, gate) for stream, shift, scale, gate in modulation]


class Attention(nn.Module):
    """Attention with normalised queries and keys that positions turn."""

    config: DitConfig
    dtype: DTypeLike = jnp.float32
    implementation: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "B M width"], context: Float[Array, "B N width"], turns: Turns | None
    ) -> Float[Array, "B M width"]:
        """Return what the tokens of x gather from those of the context, which stand at the same places."""
        dense = lambda name: nn.Dense(self.config.width, dtype=self.dtype, name=name)
        split = lambda y: y.reshape(*y.shape[:2], self.config.heads, self.config.head_dim)
        q, k, v = (split(dense(name)(y)) for name, y in (("to_q", x), ("to_k", context), ("to_v", context)))
        q, k = (layer_norm(f"norm_{name}", self.dtype, _HEAD_EPSILON)(y) for name, y in (("q", q), ("k", k)))
        if turns is not None:
            q, k = rotate(q, turns), rotate(k, turns)
        return dense("to_out")(attention(q, k, v, self.implementation).reshape(x.shape))


class Block(nn.Module):
    """Joint attention of text and video, then a network of two layers per token; both gated, both added."""

    config: DitConfig
    dtype: DTypeLike = jnp.float32
    implementation: str | None = None

    @nn.compact
    def __call__(
        self,
        text: Float[Array, "B L width"],
        video: Float[Array, "B N width"],
        time: Float[Array, "B time_dim"],
        turns: Turns | None,
    ) -> tuple[Array, Array]:
        """Return text (B, L, width) and video (B, N, width)."""
        return self.feed(*self.attend(text, video, time, turns), time)

    def attend(self, text: Array, video: Array, time: Array, turns: Turns | None) -> tuple[Array, Array]:
        """Return text and video with what the attention adds; positions turn the video's tokens."""
        length = text.shape[1]
        (more, gate), (more_text, text_gate) = Modulated(self.dtype, name="norm1")(time, video, text)
        joint = jnp.concatenate([more_text, more], 1)
        turns = None if turns is None else after_still(turns, length)
        joint = Attention(self.config, self.dtype, self.implementation, name="attn1")(joint, joint, turns)
        return text + text_gate * joint[:, :length], video + gate * joint[:, length:]

    def feed(self, text: Array, video: Array, time: Array) -> tuple[Array, Array]:
        """Return text and video with what the network per token adds."""
        length, width = text.shape[1], self.config.width
        (more, gate), (more_text, text_gate) = Modulated(self.dtype, name="norm2")(time, video, text)
        joint = jnp.concatenate([more_text, more], 1)
        joint = nn.gelu(nn.Dense(4 * width, dtype=self.dtype, name="ff_in")(joint), approximate=True)
        joint = nn.Dense(width, dtype=self.dtype, name="ff_out")(joint)
        return text + text_gate * joint[:, :length], video + gate * joint[:, length:]
