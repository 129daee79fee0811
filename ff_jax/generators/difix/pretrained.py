"""A trained network in one file: .safetensors of float16, arrays named by their path, "unet/conv_in/kernel"."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree
from safetensors.numpy import save_file

from ff_jax.files import replacing
from ff_jax.generators.difix import model
from ff_jax.generators.difix.config import DifixConfig, tiny
from ff_jax.generators.difix.fixer import make_fixer
from ff_jax.generators.protocol import Fixer
from ff_jax.metrics.weights import check_shapes, read_arrays

SHIPPED = Path(__file__).parent / "weights" / "tiny.safetensors"


def save(path: str | Path, network: PyTree) -> None:
    """Write the parameters of a network (see `model.init`) as float16.

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


def load(path: str | Path, config: DifixConfig) -> PyTree:
    """Return the parameters of a network as float32.

    Raises:
        ValueError: the file is missing or damaged, or holds those of another layout.
    """
    arrays = read_arrays(Path(path))
    shapes = {name: leaf.shape for name, leaf in flatten_dict(model.shapes(config), sep="/").items()}
    check_shapes(arrays, shapes, f"the image fixer ({path})")
    return unflatten_dict({name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()}, sep="/")


def build(path: str | Path = SHIPPED, config: DifixConfig | None = None) -> Fixer:
    """Return the fixer whose weights are in a file.

    Args:
        path: of `save`.
        config: its layout and use; None is `tiny()`.

    Raises:
        ValueError: there are no weights; see also `load`.
    """
    if path == SHIPPED and not SHIPPED.exists():
        raise ValueError(
            f"{SHIPPED} does not exist: no trained weights are part of this revision. Train them with "
            "`python -m experiments.make_pairs` and `python -m experiments.train_difix`, and put them there."
        )
    config = config or tiny()
    return make_fixer({"network": load(path, config), "gain": jnp.ones(())}, config)


def count(network: PyTree) -> int:
    """Return the number of parameters."""
    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(network))
