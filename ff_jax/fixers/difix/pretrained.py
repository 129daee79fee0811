"""The trained network in the package, or in another file of `weights.save`."""

from pathlib import Path

import jax.numpy as jnp
from jaxtyping import PyTree

from ff_jax.fixers import weights
from ff_jax.fixers.difix import model
from ff_jax.fixers.difix.config import DifixConfig, tiny
from ff_jax.fixers.difix.fixer import fixer_from_params
from ff_jax.fixers.fixer import Fixer

SHIPPED = Path(__file__).parent / "weights" / "tiny.safetensors"


def load_params(path: str | Path, config: DifixConfig) -> PyTree:
    """Read the parameters of a network as float32.

    Raises:
        ValueError: the file is missing or damaged, or belongs to another layout.
    """
    return weights.load(path, model.shapes(config), "the image fixer")


def load_fixer(path: str | Path = SHIPPED, config: DifixConfig | None = None) -> Fixer:
    """Build the fixer whose weights are in a file.

    Args:
        path: a file of `weights.save`.
        config: its layout and use; None is `tiny()`.

    Raises:
        ValueError: there are no weights; see also `load_params`.
    """
    if path == SHIPPED:
        weights.require(SHIPPED, "python -m experiments.fixers.make_pairs", "python -m experiments.fixers.train_difix")
    config = config or tiny()
    return fixer_from_params({"network": load_params(path, config), "gain": jnp.ones(())}, config)
