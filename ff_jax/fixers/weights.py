"""A trained network in one file: .safetensors of float16, arrays named by their path, "unet/conv_in/kernel"."""

from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree
from safetensors.numpy import save_file

from ff_jax.runtime.atomic_files import replacing
from ff_jax.runtime.weight_files import check_shapes, read_arrays


def save(path: str | Path, network: PyTree) -> None:
    """Write parameters, nested dictionaries, as float16.

    Raises:
        ValueError: a parameter is not finite, or too large for float16.
    """
    with np.errstate(over="ignore"):  # looked for below
        arrays = {name: np.asarray(leaf).astype(np.float16) for name, leaf in flatten_dict(network, sep="/").items()}
    wrong = sorted(name for name, array in arrays.items() if not np.isfinite(array).all())
    if wrong:
        raise ValueError(f"{wrong[0]} has values that float16 cannot hold: the training has diverged, lower its rate.")
    with replacing(path) as temporary:
        save_file(arrays, temporary)
        temporary.chmod(0o644)  # it is written for its owner alone


def load(path: str | Path, shapes: PyTree, purpose: str) -> PyTree:
    """Return the parameters in a file as float32.

    Args:
        path: of `save`.
        shapes: of the network that they are for, arrays or their shapes.
        purpose: what the file is for, in words.

    Raises:
        ValueError: the file is missing or damaged, or holds those of another layout.
    """
    arrays = read_arrays(Path(path))
    wanted = {name: leaf.shape for name, leaf in flatten_dict(shapes, sep="/").items()}
    check_shapes(arrays, wanted, f"{purpose} ({path})")
    put = lambda array: jax.device_put(np.asarray(array, np.float32))  # converted here: nothing to compile per shape
    return unflatten_dict({name: put(array) for name, array in arrays.items()}, sep="/")


def require(path: Path, *commands: str) -> None:
    """Check that weights which are part of the package are there.

    Args:
        path: where they belong.
        commands: those that make them.

    Raises:
        ValueError: they are not; the message names the commands.
    """
    if not path.exists():
        raise ValueError(
            f"{path} does not exist: no trained weights are part of this revision. Train them with "
            f"{' and '.join(f'`{command}`' for command in commands)}, and put them there."
        )


def count(network: PyTree) -> int:
    """Return the number of parameters."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(network))
