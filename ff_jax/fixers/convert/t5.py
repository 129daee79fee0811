r"""Public weights of T5 1.1 encoders (transformers' layout of .safetensors files), and back."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import PyTree

from ff_jax.fixers.convert.name_mapping import Rule, shapes_of, to_flax, to_torch
from ff_jax.fixers.convert.safetensors_shards import read_tensors
from ff_jax.fixers.eigent.t5 import T5Config, T5Encoder

_BLOCK = r"encoder\.block\.(\d+)\.layer\."
_TIED = "encoder.embed_tokens.weight"  # the same tensor as shared.weight; some files have both

T5 = (
    Rule("shared", "shared", "embed"),
    Rule(r"encoder\.block\.0\.layer\.0\.SelfAttention\.relative_attention_bias", "relative_bias", "embed"),
    Rule(_BLOCK + r"0\.SelfAttention\.(q|k|v|o)", r"blocks[\1]/\2", "linear"),
    Rule(_BLOCK + r"0\.layer_norm", r"blocks[\1]/norm_1", "norm"),
    Rule(_BLOCK + r"1\.DenseReluDense\.(wi_0|wi_1|wo)", r"blocks[\1]/\2", "linear"),
    Rule(_BLOCK + r"1\.layer_norm", r"blocks[\1]/norm_2", "norm"),
    Rule(r"encoder\.final_layer_norm", "norm_final", "norm"),
)


def t5_shapes(config: T5Config, dtype: DTypeLike = jnp.float32) -> PyTree:
    """Return shape and dtype of every parameter, without making them."""
    shapes = shapes_of(T5Encoder(config).init, jax.ShapeDtypeStruct((1, 1), jnp.int32))
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), shapes)


def load_t5(path: Path, config: T5Config, dtype: DTypeLike = jnp.float32) -> PyTree:
    """Return the encoder's parameters (NumPy arrays) from a .safetensors file or a folder, such as `text_encoder/`.

    Args:
        path: file or folder.
        config: sizes.
        dtype: of the parameters.

    Raises:
        ValueError: files are missing or damaged, or hold other weights than this network's.
    """
    tensors = (pair for pair in read_tensors(path) if pair[0] != _TIED)
    return to_flax(tensors, T5, t5_shapes(config, dtype), "text encoder")


def t5_to_torch(params: PyTree) -> dict[str, np.ndarray]:
    """Return the tensors by the names of transformers."""
    return to_torch(params, T5)
