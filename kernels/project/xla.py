"""Projection in jnp, block by block (CPU, TPU, and any other XLA device)."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Int

from kernels.project import reference
from kernels.project.types import CameraMatrices, Gaussians3D, Lens, Projected, ProjectedColumns, ProjectionOptions

NUM_BLOCKS = 8


def project(
    gaussians: Gaussians3D, camera: CameraMatrices, sh_degree: int | Int[Array, ""], options: ProjectionOptions
) -> Projected:
    """Project Gaussians; see `reference.project`."""
    return reference.project(gaussians, camera, sh_degree, options, run=project_in_blocks)


def project_in_blocks(
    usable: Array, in_camera: Any, quats: Any, scales: Any, opacities: Array, lens: Lens, options: ProjectionOptions
) -> ProjectedColumns:
    """Run `reference.project_columns` on one block of Gaussians after the other.

    A loop forces its results into memory column by column. Without a loop, XLA's CPU compiler merges the whole backward
    pass into the operation that stacks the columns of a cotangent, and evaluates it many times per Gaussian
    (a third of the time of a training step). The backward pass recomputes from the inputs, which fit into a cache.
    """
    N = opacities.shape[0]
    size = -(-N // NUM_BLOCKS)

    @jax.checkpoint
    def block(_: None, xs: tuple) -> tuple[None, ProjectedColumns]:
        return None, reference.project_columns(*xs, lens=lens, options=options)

    def split(x: Array) -> Array:
        # Padding is not usable and has finite slopes: zeros would leave NaNs in the gradient of the lens.
        return jnp.pad(x, (0, size * NUM_BLOCKS - N), constant_values=x.dtype != bool).reshape(NUM_BLOCKS, size)

    columns = usable, tuple(in_camera), tuple(quats), tuple(scales), opacities
    _, out = lax.scan(block, None, jax.tree.map(split, columns))
    return jax.tree.map(lambda x: x.reshape(-1)[:N], out)
