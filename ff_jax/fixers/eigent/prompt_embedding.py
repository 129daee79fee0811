"""The stored embedding of a prompt, which conditions the video transformer.

The text encoder of CogVideoX is T5 1.1 XXL. A prompt is embedded once, with PyTorch, outside of this package:

    import numpy, pathlib, torch, transformers
    folder = pathlib.Path("CogVideoX-5b-I2V")  # a published pipeline: tokenizer/ and text_encoder/
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "tokenizer")
    encoder = transformers.T5EncoderModel.from_pretrained(folder / "text_encoder")
    tokens = tokenizer("a street", padding="max_length", max_length=226, truncation=True, return_tensors="pt")
    with torch.no_grad():
        embedding = encoder(tokens.input_ids).last_hidden_state[0]
    numpy.savez("prompt.npz", embedding=embedding.float().numpy())
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from ff_jax.runtime.weight_files import check_shapes, read_arrays

_KEY = "embedding"


def load_prompt(path: Path, length: int, width: int) -> Float32[np.ndarray, "L D"]:
    """Read the embeddings of a prompt's tokens from a file with one array, `embedding` (L, D).

    Args:
        path: .npz or .safetensors file.
        length: number of tokens L.
        width: number of channels D.

    Raises:
        ValueError: the file is missing or damaged, or holds other arrays.
    """
    arrays = read_arrays(path)
    check_shapes(arrays, {_KEY: (length, width)}, f"{path}: prompt embedding")
    return arrays[_KEY].astype(np.float32)
