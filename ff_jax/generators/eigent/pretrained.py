"""The trained networks in the package, or in another file of `weights_file`."""

from pathlib import Path

from jaxtyping import PyTree

from ff_jax.generators import weights_file
from ff_jax.generators.eigent import model
from ff_jax.generators.eigent.fixer import make_fixer
from ff_jax.generators.eigent.use import EigentConfig, tiny
from ff_jax.generators.protocol import Fixer

SHIPPED = Path(__file__).parent / "weights" / "tiny.safetensors"


def load(path: str | Path, config: EigentConfig) -> PyTree:
    """Return the parameters of all networks as float32.

    Raises:
        ValueError: the file is missing or damaged, or holds those of another layout.
    """
    return weights_file.load(path, model.shapes(config), "the video fixer")


def build(path: str | Path = SHIPPED, config: EigentConfig | None = None) -> Fixer:
    """Return the fixer whose weights are in a file.

    Args:
        path: of `weights_file.save`.
        config: its layout and use; None is `tiny()`.

    Raises:
        ValueError: there are no weights; see also `load`.
    """
    if path == SHIPPED:
        weights_file.require(SHIPPED, "python -m experiments.make_pairs --clip=9", "python -m experiments.train_eigent")
    config = config or tiny()
    return make_fixer(load(path, config), config)
