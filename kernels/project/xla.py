"""Projection in jnp, some Gaussians after the others (CPU, TPU, and any other XLA device)."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from kernels.project import reference
from kernels.project.reference import Columns, Lens, Options, Projected

BLOCKS = 8


def project(*operands: Any) -> Projected:
    """Project Gaussians; operands are those of `reference.project`."""
    return reference.project(*operands, run=in_blocks)


def in_blocks(
    usable: Array, inside: Any, quats: Any, scales: Any, opacities: Array, lens: Lens, options: Options
) -> Columns:
    """Run `reference.columns` on a block of Gaussians after the other.

    What leaves a loop exists in memory column by column. Without one, XLA's CPU compiler merges the whole backward
    pass into the operation that lays the columns of a cotangent side by side, and evaluates it many times per Gaussian
    (a third of the time of a training step). The backward pass starts from the inputs: they fit into a cache.
    """
    N = opacities.shape[0]
    size = -(-N // BLOCKS)

    @jax.checkpoint
    def block(_: None, xs: tuple) -> tuple[None, Columns]:
        return None, reference.columns(*xs, lens, options)

    def cut(x: Array) -> Array:
        # Filled up with what has a finite slope, and is not usable: zeros would leave NaNs in the lens' gradient.
        return jnp.pad(x, (0, size * BLOCKS - N), constant_values=x.dtype != bool).reshape(BLOCKS, size)

    columns = usable, tuple(inside), tuple(quats), tuple(scales), opacities
    _, out = lax.scan(block, None, jax.tree.map(cut, columns))
    return jax.tree.map(lambda x: x.reshape(-1)[:N], out)
