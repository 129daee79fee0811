"""Weights of SD-Turbo and Difix, as diffusers saves them, for the `difix` network.

A folder holds unet/, vae/, text_encoder/ and tokenizer/, weights as .safetensors. The autoencoder may be that of
SD-Turbo, without skip convolutions, or that of Difix, with them (`decoder.skip_conv_1.weight` to 4) and with a low-rank
update of its decoder, merged or in the layout of the package peft (`base_layer`, `lora_A.<name>`, `lora_B.<name>`).
"""

import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, PyTree

from ff_jax.fixers.convert.name_mapping import Rule, shapes_of, to_flax
from ff_jax.fixers.convert.safetensors_shards import read_tensors
from ff_jax.fixers.difix import eig_conditioning, model, vae
from ff_jax.fixers.difix.config import DifixConfig
from ff_jax.runtime.untrusted_files import reason

Tensors = Iterable[tuple[str, np.ndarray]]

PROMPT = "remove degradation"
_ADAPTER = re.compile(r"(.+)\.lora_(A|B)(?:\.[^.]+)?\.weight")
# Names of the projections of the autoencoder's attention in diffusers before version 0.17.
_RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def _rule(torch: str, kind: str) -> Rule:
    """Make the rule of a module whose path follows from its name: "a.0.b" is "a_0/b"."""
    path = re.sub(r"\\\.(\(\\d\+\)|\d)", r"_\1", torch).replace(r"\.", "/")
    numbers = itertools.count(1)
    return Rule(torch, re.sub(r"\([^()]*\)", lambda _: f"\\{next(numbers)}", path), kind)


def _level(prefix: str) -> tuple[Rule, ...]:
    """List the rules of residual blocks and resampling of one level."""
    return (
        _rule(prefix + r"\.resnets\.(\d+)\.(norm1|norm2)", "norm"),
        _rule(prefix + r"\.resnets\.(\d+)\.(conv1|conv2|conv_shortcut)", "conv2d"),
        _rule(prefix + r"\.resnets\.(\d+)\.(time_emb_proj)", "linear"),
        _rule(prefix + r"\.(downsamplers|upsamplers)\.0\.conv", "conv2d"),
    )


def _transformer(prefix: str) -> tuple[Rule, ...]:
    """List the rules of the transformers of one level."""
    block = prefix + r"\.attentions\.(\d+)\.transformer_blocks\.(\d+)"
    return (
        _rule(prefix + r"\.attentions\.(\d+)\.norm", "norm"),
        _rule(prefix + r"\.attentions\.(\d+)\.(proj_in|proj_out)", "linear"),
        _rule(block + r"\.(norm1|norm2|norm3)", "norm"),
        _rule(block + r"\.(attn1|attn2)\.(to_q|to_k|to_v)", "linear"),
        _rule(block + r"\.(attn1|attn2)\.to_out\.0", "linear"),
        _rule(block + r"\.ff\.net\.0\.proj", "linear"),
        _rule(block + r"\.ff\.net\.2", "linear"),
    )


_LEVELS = (r"(down_blocks|up_blocks)\.(\d+)", "mid_block")
_COARSEST = r"(encoder|decoder)\.mid_block"
_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", r"to_out\.0": "proj_attn"}

UNET = (
    _rule("(conv_in|conv_out)", "conv2d"),
    _rule("conv_norm_out", "norm"),
    _rule(r"time_embedding\.(linear_1|linear_2)", "linear"),
    *itertools.chain.from_iterable(_level(prefix) + _transformer(prefix) for prefix in _LEVELS),
)
VAE = (
    _rule(r"(encoder|decoder)\.(conv_in|conv_out)", "conv2d"),
    _rule(r"(encoder|decoder)\.conv_norm_out", "norm"),
    _rule("(quant_conv|post_quant_conv)", "conv2d"),
    *_level(r"(encoder|decoder)\.(down_blocks|up_blocks)\.(\d+)"),
    *_level(_COARSEST),
    _rule(_COARSEST + r"\.attentions\.0\.group_norm", "norm"),
    *(
        Rule(_COARSEST + r"\.attentions\.0\." + torch, rf"\1/mid_block/attentions_0/{flax}", "linear")
        for torch, flax in _NAMES.items()
    ),
    Rule(r"decoder\.(skip_conv_\d+)", r"skips/\1", "conv2d"),
)
TEXT = (
    Rule(r"text_model\.embeddings\.(token|position)_embedding", r"text_model/embeddings/\1_embedding", "embed"),
    Rule(
        r"text_model\.encoder\.layers\.(\d+)\.self_attn\.(q|k|v|out)_proj",
        r"text_model/encoder/layers/\1/self_attn/\2_proj",
        "linear",
    ),
    Rule(r"text_model\.encoder\.layers\.(\d+)\.mlp\.(fc1|fc2)", r"text_model/encoder/layers/\1/mlp/\2", "linear"),
    Rule(r"text_model\.encoder\.layers\.(\d+)\.(layer_norm1|layer_norm2)", r"text_model/encoder/layers/\1/\2", "norm"),
    Rule(r"text_model\.final_layer_norm", "text_model/final_layer_norm", "norm"),
)


def load(folder: Path, config: DifixConfig, prompt: str = PROMPT) -> PyTree:
    """Read the network's parameters from a folder in the layout of the module's docstring.

    Raises:
        ValueError: files are missing or damaged, or belong to another network than `config` describes.
    """
    unet, autoencoder = (read_tensors(folder / name) for name in ("unet", "vae"))
    return convert(unet, autoencoder, embed(folder, prompt), config)


def convert(unet: Tensors, autoencoder: Tensors, text: Float[Array, "L D"], config: DifixConfig) -> PyTree:
    """Convert tensors to the network's parameters; its EIG conditioning is untrained, so it is plain Difix.

    Args:
        unet: names and tensors of the denoiser.
        autoencoder: those of the autoencoder; missing skip convolutions are untrained ones.
        text: embedding of the prompt, from `embed`.
        config: the layout.

    Raises:
        ValueError: tensors are missing, surplus or misshapen; the message names the first of each.
    """
    if text.shape != (expected := (config.unet.tokens, config.unet.context)):
        raise ValueError(f"the text embedding has shape {text.shape}, the network takes {expected}: embed it anew.")
    shapes = model.shapes(config)
    denoiser = to_flax(unet, UNET, shapes["unet"], "Difix U-Net")
    tensors = merge_adapters(autoencoder, config.vae.alpha / config.vae.rank)
    parts = shapes["vae"]
    if any("skip_conv" in name for name in tensors):
        parts = parts | {"skips": shapes["skips"]}
    params = to_flax(tensors.items(), VAE, parts, "Difix autoencoder")
    skips = params.pop("skips", None) or vae.init_skips(config)
    rest = {"guidance": eig_conditioning.init(denoiser, config.vae.latent), "text": text, "skips": skips}
    return jax.tree.map(jnp.asarray, {"unet": denoiser, "vae": params} | rest)


def merge_adapters(tensors: Tensors, scale: float) -> dict[str, np.ndarray]:
    """Rename tensors to current names, and merge every low-rank update: W + scale B A.

    Raises:
        ValueError: half of an update or the weight that it updates is missing, or their shapes differ.
    """
    plain, factors = {}, {}
    for name, tensor in tensors:
        if match := _ADAPTER.fullmatch(name):
            factors[_current_name(match[1]), match[2]] = tensor.astype(np.float32)
        else:
            plain[_current_name(name.replace(".base_layer.", "."))] = tensor
    for module in dict.fromkeys(module for module, _ in factors):
        weight = plain.get(f"{module}.weight")
        a, b = (factors.get((module, side)) for side in "AB")
        if weight is None or a is None or b is None:
            absent = [side for side, tensor in {"weight": weight, "lora_A": a, "lora_B": b}.items() if tensor is None]
            raise ValueError(f"low-rank update of {module}: {', '.join(absent)} missing; give the whole file.")
        if b.size != len(b) * len(a) or (len(b), *a.shape[1:]) != weight.shape:
            raise ValueError(f"low-rank update of {module}: {b.shape} times {a.shape} does not fit {weight.shape}.")
        change = np.tensordot(b.reshape(len(b), len(a)), a, 1)
        plain[f"{module}.weight"] = weight.astype(np.float32) + np.float32(scale) * change
    return plain


def embed(folder: Path, prompt: str) -> Float[Array, "L D"]:
    """Embed a prompt, padded to the length of the text encoder (CLIP, arXiv 2103.00020).

    Args:
        folder: holds tokenizer/ and text_encoder/.
        prompt: the instruction of the network.

    Raises:
        ValueError: files are missing or damaged.
    """
    from transformers import CLIPTokenizer

    for name in ("tokenizer", "text_encoder"):
        if not (folder / name).is_dir():
            raise ValueError(f"{folder} has no folder {name}; give a whole model in diffusers' layout.")
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'tokenizer'}: cannot be read ({reason(error)}).") from error
    ids = tokenizer(prompt, padding="max_length", truncation=True, return_tensors="np").input_ids
    return _encode(folder / "text_encoder", np.asarray(ids))


def _encode(folder: Path, ids: Int[np.ndarray, "1 L"]) -> Float[Array, "L D"]:
    """Compute the output of the last layer of the text encoder in `folder`."""
    from transformers import CLIPTextConfig, FlaxCLIPTextModel, logging

    logging.set_verbosity_error()  # the Flax classes warn that transformers 5 removes them
    try:
        config = CLIPTextConfig.from_json_file(folder / "config.json")
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{folder}: its config.json cannot be read ({reason(error)}).") from error
    encoder = FlaxCLIPTextModel(config, _do_init=False)
    positions = np.arange(ids.shape[1])[None]
    expected = shapes_of(encoder.module.init, ids, np.ones_like(ids), positions)
    tensors = ((name, tensor) for name, tensor in read_tensors(folder) if not name.endswith("position_ids"))
    params = to_flax(tensors, TEXT, expected, "text encoder")
    out = cast(Any, encoder.module.apply({"params": params}, ids, np.ones_like(ids), positions))
    return out.last_hidden_state[0]


def _current_name(name: str) -> str:
    for old, new in _RENAMED.items():
        name = re.sub(rf"(attentions\.\d+)\.{old}(?=\.|$)", rf"\1.{new}", name)
    return name
