"""The fixer that leaves every frame as it is: reconstruction alone, the baseline of every other fixer."""

from typing import Any

from jax import Array
from jaxtyping import Float, Key, PyTree

from ff_jax.fixers.fixer import Fixer


def build() -> Fixer:
    """Return the identity fixer."""
    return Fixer(params={}, name="none", apply=apply, chunk=8)


def apply(
    config: Any,
    params: PyTree,
    key: Key[Array, ""],
    frames: Float[Array, "T H W 3"],
    eig: Float[Array, "T H W"],
    references: Float[Array, "T H W 3"],
) -> Float[Array, "T H W 3"]:
    """Return `frames`."""
    return frames
