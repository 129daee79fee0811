"""The trained networks in the package, or in another file of `weights_file`."""

from pathlib import Path

from jaxtyping import PyTree

from ff_jax.fixers import weights
from ff_jax.fixers.eigent import model
from ff_jax.fixers.eigent.config import EigentConfig, tiny
from ff_jax.fixers.eigent.fixer import make_fixer
from ff_jax.fixers.fixer import Fixer

SHIPPED = Path(__file__).parent / "weights" / "tiny.safetensors"


def load(path: str | Path, config: EigentConfig) -> PyTree:
    """Return the parameters of all networks as float32.

    Raises:
        ValueError: the file is missing or damaged, or holds those of another layout.
    """
    return weights.load(path, model.shapes(config), "the video fixer")


def build(path: str | Path = SHIPPED, config: EigentConfig | None = None) -> Fixer:
    """Return the fixer whose weights are in a file.

    Args:
        path: of `weights_file.save`.
        config: its layout and use; None is `tiny()`.

    Raises:
        ValueError: there are no weights; see also `load`.
    """
    if path == SHIPPED:
        weights.require(
            SHIPPED, "python -m experiments.fixers.make_pairs --clip=9", "python -m experiments.fixers.train_eigent"
        )
    config = config or tiny()
    return make_fixer(load(path, config), config)
