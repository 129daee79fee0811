"""The fixer that returns the renders unchanged: reconstruction alone, the baseline of every other fixer."""

from typing import Any

from jax import Array
from jaxtyping import Float, Key, PyTree

from ff_jax.fixers.fixer import Fixer


def make_identity() -> Fixer:
    """Build the identity fixer."""
    return Fixer(params={}, name="none", apply=apply, chunk=8)


def apply(
    config: Any,
    params: PyTree,
    key: Key[Array, ""],
    frames: Float[Array, "T H W 3"],
    eig: Float[Array, "T H W"],
    references: Float[Array, "T H W 3"],
    blend_eig: Float[Array, "T H W"] | None = None,
) -> Float[Array, "T H W 3"]:
    """Return `frames`."""
    return frames
