"""List, for every tile of the image, the Gaussians that touch it."""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Int

from kernels.bin_tiles import reference, xla
from kernels.bin_tiles.primitives import bin_primitive
from kernels.bin_tiles.types import Bins, TileGrid
from kernels.common.implementation import choose_implementation
from kernels.project.types import Projected


def bin_tiles(
    projected: Projected,
    grid: TileGrid,
    *,
    capacity: int,
    part: int | Int[Array, ""] = 0,
    num_parts: int = 1,
    implementation: str | None = None,
) -> Bins:
    """List the Gaussians whose ellipse alpha >= 1/255 covers a pixel center of a tile, front to back.

    The test is exact up to a hundredth of a pixel, on the generous side. Equal depths keep the order of the
    input. Not differentiable: gradients stop here.

    Args:
        projected: N Gaussians; opacity at most 1/255 or extent 0 means culled. Colors are not read.
        grid: image size and side of a tile.
        capacity: number of (Gaussian, tile) intersections that fit. If `num_intersections` of the result is
            larger, the hindmost were dropped: call again with at least that capacity.
        part: only tile rows whose number is `part` modulo `num_parts` get lists, the others' are empty; may be traced.
        num_parts: number of parts that share the tile rows.
        implementation: None, "reference" (dense, small scenes), "xla" (also for "mosaic") or "pallas"
            (interpreted on a CPU).

    Raises:
        ValueError: for an unknown implementation, an empty image, or a tile, capacity or `num_parts` under 1.
    """
    name = choose_implementation(implementation)
    if min(grid.width, grid.height, grid.tile, capacity, num_parts) < 1:
        raise ValueError(f"invalid {grid}, {capacity=}, {num_parts=}: expected numbers of at least 1")
    projected = jax.tree.map(lax.stop_gradient, projected)
    N = projected.depth.shape[0]
    if N == 0:  # one culled Gaussian as a placeholder: nothing can be gathered from an empty table
        projected = jax.tree.map(lambda a: jnp.zeros((1, *a.shape[1:]), a.dtype), projected)
    if name == "pallas":
        bins = bin_primitive(projected, jnp.asarray(part, jnp.int32), grid, capacity, num_parts)
    else:
        run = reference.bin_tiles if name == "reference" else xla.bin_tiles
        bins = run(projected, part, grid, capacity, num_parts)
    return bins._replace(order=bins.order[:N], first=bins.first[:N], last=bins.last[:N])
