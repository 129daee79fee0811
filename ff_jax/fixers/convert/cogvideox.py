r"""Public weights of CogVideoX (diffusers' layout of .safetensors files) for `fixers.eigent`, and back.

The transformer's blocks are stacked: `blocks[\1]` is slice \1 of the leading axis.
"""

from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import PyTree

from ff_jax.fixers.convert.name_mapping import Rule, shapes_of, to_flax
from ff_jax.fixers.convert.safetensors_shards import read_tensors
from ff_jax.fixers.eigent.network_config import DitConfig, VideoVaeConfig
from ff_jax.fixers.eigent.transformer import Dit
from ff_jax.fixers.eigent.vae import init_params

_BLOCK = r"transformer_blocks\.(\d+)\."

TRANSFORMER = (
    Rule(r"patch_embed\.proj", "patch_embed/proj", "conv2d"),
    Rule(r"patch_embed\.proj", "patch_embed/proj", "patch3d"),  # with several latent frames per token
    Rule(r"patch_embed\.text_proj", "patch_embed/text_proj", "linear"),
    Rule(r"patch_embed\.pos_embedding", "patch_embed/positions", "raw"),
    Rule(r"time_embedding\.(linear_1|linear_2)", r"time_embedding/\1", "linear"),
    Rule(r"ofs_embedding\.linear_(1|2)", r"time_embedding/offset_\1", "linear"),
    Rule(_BLOCK + r"(norm1|norm2)\.linear", r"blocks[\1]/block/\2/linear", "linear"),
    Rule(_BLOCK + r"(norm1|norm2)\.norm", r"blocks[\1]/block/\2/norm", "norm"),
    Rule(_BLOCK + r"attn1\.(norm_q|norm_k)", r"blocks[\1]/block/attn1/\2", "norm"),
    Rule(_BLOCK + r"attn1\.(to_q|to_k|to_v)", r"blocks[\1]/block/attn1/\2", "linear"),
    Rule(_BLOCK + r"attn1\.to_out\.0", r"blocks[\1]/block/attn1/to_out", "linear"),
    Rule(_BLOCK + r"ff\.net\.0\.proj", r"blocks[\1]/block/ff_in", "linear"),
    Rule(_BLOCK + r"ff\.net\.2", r"blocks[\1]/block/ff_out", "linear"),
    Rule("norm_final", "head/norm_final", "norm"),
    Rule(r"norm_out\.linear", "head/linear", "linear"),
    Rule(r"norm_out\.norm", "head/norm", "norm"),
    Rule("proj_out", "head/proj_out", "linear"),
)


def _residual(torch: str, flax: str, norm: str) -> list[Rule]:
    """List the rules of a residual block; `norm` is the name of the normalization inside its module."""
    rules = [Rule(torch + "conv_shortcut", flax + "conv_shortcut", "conv3d")]
    for number in "12":
        rules.append(Rule(torch + rf"conv{number}\.conv", flax + f"conv{number}/conv", "conv3d"))
        rules += _norm(torch + f"norm{number}", flax + f"norm{number}", norm)
    return rules


def _norm(torch: str, flax: str, norm: str) -> list[Rule]:
    convs = [Rule(torch + rf"\.{name}\.conv", f"{flax}/{name}", "conv3d") for name in ("conv_y", "conv_b")]
    return [Rule(torch + norm, flax + "/norm_layer", "norm"), *convs]


# The encoder's normalizations are plain; the decoder's have two convolutions of the latents beside them.
AUTOENCODER = (
    Rule(r"(encoder|decoder)\.(conv_in|conv_out)\.conv", r"\1/\2/conv", "conv3d"),
    Rule(r"encoder\.down_blocks\.(\d+)\.downsamplers\.0\.conv", r"encoder/down_\1/conv", "conv2d"),
    Rule(r"decoder\.up_blocks\.(\d+)\.upsamplers\.0\.conv", r"decoder/up_\1/conv", "conv2d"),
    *_residual(r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\.", r"encoder/down_\1_\2/", ""),
    *_residual(r"encoder\.mid_block\.resnets\.(\d+)\.", r"encoder/mid_\1/", ""),
    *_residual(r"decoder\.up_blocks\.(\d+)\.resnets\.(\d+)\.", r"decoder/up_\1_\2/", r"\.norm_layer"),
    *_residual(r"decoder\.mid_block\.resnets\.(\d+)\.", r"decoder/mid_\1/", r"\.norm_layer"),
    *_norm(r"encoder\.norm_out", "encoder/norm_out", ""),
    *_norm(r"decoder\.norm_out", "decoder/norm_out", r"\.norm_layer"),
)


@cache
def transformer_shapes(config: DitConfig, dtype: DTypeLike = jnp.float32) -> PyTree:
    """Compute shape and dtype of every parameter of the transformer, without arrays."""
    latents = jax.ShapeDtypeStruct((1, *config.sample, config.in_channels), jnp.float32)
    text = jax.ShapeDtypeStruct((1, config.text_length, config.text_dim), jnp.float32)
    shapes = shapes_of(Dit(config).init, latents, text, jax.ShapeDtypeStruct((1,), jnp.float32))
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), shapes)


def load_transformer(path: Path, config: DitConfig, dtype: DTypeLike = jnp.float32) -> PyTree:
    """Read the transformer's parameters (NumPy arrays) from a .safetensors file or a folder of them.

    Args:
        path: file or folder, such as `transformer/` of a published pipeline.
        config: sizes.
        dtype: of the parameters; bfloat16, in which the larger networks are published, halves the memory.

    Raises:
        ValueError: files are missing or damaged, or belong to another network.
    """
    return to_flax(read_tensors(path), TRANSFORMER, transformer_shapes(config, dtype), "video transformer")


def autoencoder_shapes(config: VideoVaeConfig, dtype: DTypeLike = jnp.float32) -> PyTree:
    """Compute shape and dtype of every parameter of the autoencoder, without arrays."""
    shapes = jax.eval_shape(partial(init_params, config=config), jax.random.key(0))
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), shapes)


def load_autoencoder(path: Path, config: VideoVaeConfig, dtype: DTypeLike = jnp.float32) -> PyTree:
    """Read the autoencoder's parameters (NumPy arrays) from a .safetensors file or a folder, such as `vae/`.

    Args:
        path: file or folder.
        config: sizes.
        dtype: of the parameters.

    Raises:
        ValueError: files are missing or damaged, or belong to another network.
    """
    return to_flax(read_tensors(path), AUTOENCODER, autoencoder_shapes(config, dtype), "video autoencoder")
