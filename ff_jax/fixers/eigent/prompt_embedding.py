"""Embeddings of prompts: from a file, or from a T5 encoder once and then from a file."""

import hashlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float, Float32, Int

from ff_jax.fixers.convert.t5 import load_t5
from ff_jax.fixers.eigent.t5 import T5Config, T5Encoder
from ff_jax.runtime.atomic_files import replacing
from ff_jax.runtime.weight_files import check_shapes, read_arrays

_KEY = "embedding"


def load_prompt(path: Path, length: int, width: int) -> Float32[np.ndarray, "L D"]:
    """Return the embeddings of a prompt's tokens from a file with one array, `embedding` (L, D).

    Args:
        path: .npz or .safetensors file.
        length: tokens L.
        width: channels D.

    Raises:
        ValueError: the file is missing or damaged, or holds something else.
    """
    arrays = read_arrays(path)
    check_shapes(arrays, {_KEY: (length, width)}, f"{path}: prompt embedding")
    return arrays[_KEY].astype(np.float32)


def save_prompt(path: Path, embedding: Float[np.ndarray, "L D"]) -> None:
    """Write embeddings to an .npz file that `load_prompt` reads."""
    with replacing(path) as temporary:
        np.savez(temporary, **{_KEY: np.asarray(embedding, np.float32)})


def embed_prompt(
    prompt: str, pipeline: Path, cache: Path, config: T5Config, length: int = 226, dtype: DTypeLike = jnp.float32
) -> Float32[np.ndarray, "L D"]:
    """Return the embeddings of a prompt, computed once: later calls read the file that the first one left.

    Args:
        prompt: the text; cut, or padded, to `length` tokens.
        pipeline: folder of a published pipeline, with `tokenizer/` and `text_encoder/`; not needed where the
            embedding is in the cache.
        cache: folder of embeddings; made if missing.
        config: sizes of the encoder.
        length: tokens L.
        dtype: of the encoder's parameters and computation.

    Raises:
        ValueError: the pipeline's folders are missing or hold something else.
    """
    digest = hashlib.sha256(f"{prompt}\n{length} {config} {jnp.dtype(dtype).name}".encode()).hexdigest()
    path = cache / f"prompt-{digest[:16]}.npz"
    if not path.is_file():
        ids = tokenize(prompt, pipeline / "tokenizer", length)
        params = load_t5(pipeline / "text_encoder", config, dtype)
        embedding = jax.jit(T5Encoder(config, dtype).apply)({"params": params}, jnp.asarray(ids)[None])
        save_prompt(path, np.asarray(embedding[0], np.float32))
    return load_prompt(path, length, config.width)


def tokenize(prompt: str, folder: Path, length: int) -> Int[np.ndarray, "L"]:
    """Return the tokens of a prompt, cut or padded to `length`.

    Args:
        prompt: the text.
        folder: of a tokenizer that transformers reads; one with only `spiece.model` needs the package sentencepiece.
        length: tokens L.

    Raises:
        ValueError: there is no tokenizer that can be read.
    """
    # Imported here: it takes seconds, and prompts in the cache do not need it.
    from transformers import AutoTokenizer

    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; give a pipeline with tokenizer/, or the prompt's embedding.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library raises that bare type for damaged files
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{folder}: the tokenizer cannot be read ({reason}); install what it needs.") from error
    found = tokenizer(prompt, padding="max_length", max_length=length, truncation=True, return_tensors="np")
    return found["input_ids"][0].astype(np.int32)
