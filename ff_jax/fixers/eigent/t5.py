"""The encoder of T5 1.1 (Raffel et al. 2020, arXiv 1910.10683), which embeds prompts for the video transformer.

Own, because the one in transformers does not run on the JAX that this project needs, and as a scan over stacked
parameters it compiles in one block's time.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Int

_EPSILON = 1e-6
_BUCKETS = 32  # of relative positions, half of them for either direction
_FARTHEST = 128  # tokens; farther ones share a bucket


@dataclass(frozen=True)
class T5Config:
    """Sizes (hashable: a static argument). The defaults are those of T5 1.1 XXL.

    Attributes:
        vocabulary: number of tokens.
        depth: blocks.
        heads: attention heads.
        head_dim: channels of a head.
        width: channels of a token.
        hidden: channels inside the network per token.
    """

    vocabulary: int = 32128
    depth: int = 24
    heads: int = 64
    head_dim: int = 64
    width: int = 4096
    hidden: int = 10240


class T5Block(nn.Module):
    """Self-attention with a bias by relative position, then a gated network per token."""

    config: T5Config
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B L width"], bias: Float[Array, "heads L L"]) -> tuple[Array, None]:
        """Return the tokens (B, L, width) after the block, as a step of a scan."""
        config = self.config
        dense = lambda features, name: nn.Dense(features, use_bias=False, dtype=self.dtype, name=name)
        y = _norm("norm_1", self.dtype)(x)
        q, k, v = (
            dense(config.heads * config.head_dim, name)(y).reshape(*y.shape[:2], config.heads, config.head_dim)
            for name in "qkv"
        )
        # Scores are not divided by the root of the channels, unlike in most transformers.
        scores = jnp.einsum("bqhc,bkhc->bhqk", q, k, preferred_element_type=jnp.float32) + bias
        mixed = jnp.einsum("bhqk,bkhc->bqhc", nn.softmax(scores).astype(self.dtype), v)
        x = x + dense(config.width, "o")(mixed.reshape(*y.shape[:2], -1))
        y = _norm("norm_2", self.dtype)(x)
        gate = nn.gelu(dense(config.hidden, "wi_0")(y), approximate=True)
        return x + dense(config.width, "wo")(gate * dense(config.hidden, "wi_1")(y)), None


class T5Encoder(nn.Module):
    """The encoder; every token, padding included, sees every other, as CogVideoX was trained."""

    config: T5Config
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, ids: Int[Array, "B L"]) -> Float[Array, "B L width"]:
        """Return the embeddings of tokens."""
        config = self.config
        x = nn.Embed(config.vocabulary, config.width, dtype=self.dtype, name="shared")(ids)
        table = nn.Embed(_BUCKETS, config.heads, name="relative_bias")
        bias = table(buckets(ids.shape[1])).transpose(2, 0, 1).astype(jnp.float32)
        scan = nn.scan(
            T5Block, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=nn.broadcast, length=config.depth
        )
        x, _ = scan(config, self.dtype, name="blocks")(x, bias)
        return _norm("norm_final", self.dtype)(x)


def buckets(length: int) -> Int[np.ndarray, "L L"]:
    """Return the bucket of the position of token j (column) relative to token i (row)."""
    distance = np.arange(length) - np.arange(length)[:, None]
    half, near = _BUCKETS // 2, _BUCKETS // 4  # near ones have a bucket each, the rest is logarithmic
    far = np.log(np.maximum(np.abs(distance), near) / near) / np.log(_FARTHEST / near) * (half - near)
    # Whole numbers are exact steps: rounding must not take them one down.
    steps = np.minimum(near + np.floor(far + 1e-9).astype(int), half - 1)
    return np.where(np.abs(distance) < near, np.abs(distance), steps) + half * (distance > 0)


def _norm(name: str, dtype: DTypeLike) -> nn.RMSNorm:
    return nn.RMSNorm(epsilon=_EPSILON, dtype=dtype, name=name)
