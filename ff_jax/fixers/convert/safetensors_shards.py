"""Read the tensors of .safetensors files one at a time, so that networks may be larger than the memory."""

from collections.abc import Iterator
from pathlib import Path

import ml_dtypes  # noqa: F401  (registers bfloat16 with NumPy, for safetensors)
import numpy as np
from safetensors import SafetensorError, safe_open

from ff_jax.data.paths import inside
from ff_jax.runtime.untrusted_files import check_regular, read_json, reason

_INDEX = "*.safetensors.index.json"


def read_tensors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and values of every tensor, in the stored dtype (bfloat16 included).

    Args:
        path: a .safetensors file, or a folder with one or several of them; where the folder has an index
            (`*.safetensors.index.json`), the files that it names are read, otherwise all.

    Raises:
        ValueError: files are missing or damaged, or a name occurs twice.
    """
    origin: dict[str, Path] = {}
    for file in _files(path):
        check_regular(file)
        try:
            with safe_open(file, "numpy") as tensors:
                for name in tensors.keys():
                    if name in origin:
                        raise ValueError(f"{name} is in {origin[name]} and in {file}; keep one of the files.")
                    origin[name] = file
                    yield name, tensors.get_tensor(name)
        except (OSError, KeyError, TypeError, SafetensorError) as error:
            raise ValueError(f"{file} cannot be read ({reason(error)}); download it again.") from error


def _files(path: Path) -> list[Path]:
    """List the files to read, in order."""
    if not path.is_dir():
        if path.suffix != ".safetensors" or not path.is_file():
            raise ValueError(f"invalid path {path}: expected a .safetensors file, or a folder with such files.")
        return [path]
    indices = sorted(path.glob(_INDEX))
    if len(indices) > 1:
        raise ValueError(f"{path} has {len(indices)} indices of weights; keep one ({_INDEX}).")
    files = _indexed(indices[0]) if indices else sorted(path.glob("*.safetensors"))
    if not files:
        raise ValueError(f"{path} has no .safetensors file; give the folder of the network's weights.")
    return files


def _indexed(index: Path) -> list[Path]:
    """List the files that an index names."""
    try:
        names = sorted(set(read_json(index)["weight_map"].values()))
        files = [inside(index.parent, name) for name in names]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is not an index of weights ({reason(repr(error))}); download it again.") from error
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise ValueError(f"{index.parent} lacks {len(missing)} of {len(names)} files ({missing[0]}); download them.")
    return files
