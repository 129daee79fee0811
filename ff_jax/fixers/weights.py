"""Network parameters in one .safetensors file of float16, arrays named by their path ("unet/conv_in/kernel")."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree
from safetensors.numpy import save_file

from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.runtime.weight_files import check_shapes, read_arrays


def save(path: str | Path, network: PyTree) -> None:
    """Write parameters (nested dictionaries) as float16.

    Raises:
        ValueError: a parameter is not finite, or too large for float16.
    """
    with np.errstate(over="ignore"):  # checked below
        arrays = {name: np.asarray(leaf).astype(np.float16) for name, leaf in flatten_dict(network, sep="/").items()}
    invalid = sorted(name for name, array in arrays.items() if not np.isfinite(array).all())
    if invalid:
        raise ValueError(f"{invalid[0]} has values that float16 cannot hold: the training diverged; reduce its rate.")
    with atomic_write(path) as temporary:
        save_file(arrays, temporary)
        temporary.chmod(0o644)  # safetensors writes for the owner alone


def load(path: str | Path, shapes: PyTree, purpose: str) -> PyTree:
    """Read parameters from a file as float32.

    Args:
        path: a file of `save`.
        shapes: arrays of the network, or their shapes.
        purpose: what the file is for, in words; used in messages.

    Raises:
        ValueError: the file is missing or damaged, or belongs to another layout.
    """
    arrays = read_arrays(Path(path))
    leaves: dict[str, Any] = flatten_dict(shapes, sep="/")
    expected = {name: leaf.shape for name, leaf in leaves.items()}
    check_shapes(arrays, expected, f"{purpose} ({path})")
    # Converted on the host: nothing to compile per shape.
    arrays = {name: jax.device_put(np.asarray(array, np.float32)) for name, array in arrays.items()}
    return unflatten_dict(arrays, sep="/")


def has_layout(path: str | Path, shapes: PyTree) -> bool:
    """Tell whether a file of `save` has the arrays of a network.

    Raises:
        ValueError: the file is missing or damaged.
    """
    leaves: dict[str, Any] = flatten_dict(shapes, sep="/")
    return {name: tuple(array.shape) for name, array in read_arrays(Path(path)).items()} == {
        name: tuple(leaf.shape) for name, leaf in leaves.items()
    }


def num_params(network: PyTree) -> int:
    """Count the parameters of a network."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(network))
