"""The trained networks in the package, or in another file of `weights.save`."""

from pathlib import Path

from jaxtyping import PyTree

from ff_jax.fixers import weights
from ff_jax.fixers.eigent import model
from ff_jax.fixers.eigent.config import EigentConfig, tiny
from ff_jax.fixers.eigent.fixer import fixer_from_params
from ff_jax.fixers.fixer import Fixer

SHIPPED = Path(__file__).parent / "weights" / "tiny.safetensors"


def load_params(path: str | Path, config: EigentConfig) -> PyTree:
    """Read the parameters of all networks as float32.

    Raises:
        ValueError: the file is missing or damaged, or belongs to another layout.
    """
    return weights.load(path, model.shapes(config), "the video fixer")


def load_fixer(path: str | Path = SHIPPED, config: EigentConfig | None = None) -> Fixer:
    """Build the fixer whose weights are in a file.

    Args:
        path: a file of `weights.save`.
        config: its layout and use; None is `tiny()`.

    Raises:
        ValueError: there are no weights; see also `load_params`.
    """
    if path == SHIPPED:
        weights.require(
            SHIPPED, "python -m experiments.fixers.make_pairs --clip=9", "python -m experiments.fixers.train_eigent"
        )
    config = config or tiny()
    return fixer_from_params(load_params(path, config), config)
