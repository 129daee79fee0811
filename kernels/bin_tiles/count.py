"""Count tile intersections without lists, and so without a capacity: what a capacity is planned from."""

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from kernels.bin_tiles.tile_spans import ellipse_of, ellipse_table, first_and_last_tile, level_of, row_span
from kernels.bin_tiles.types import TileGrid
from kernels.bin_tiles.xla import MAX_INT
from kernels.project.types import Projected

_LARGEST = 2.0e9  # a float32 below the largest int32


def count_tiles(projected: Projected, grid: TileGrid) -> Int[Array, ""]:
    """Count the tile intersections that `bin_tiles` would list, however many they are.

    The count is exact up to 2^24 and has the precision of float32 above; it saturates at the largest int32. One pass
    over all Gaussians for each tile row of the tallest one.

    Args:
        projected: N Gaussians, as for `bin_tiles`.
        grid: image size and side of a tile.
    """
    columns = ellipse_table(projected, level_of(projected))
    ellipse = ellipse_of([columns[:, k] for k in range(columns.shape[1])])
    first_row, num_rows = row_span(ellipse, grid, 0, 1)

    def add_row(k: Int[Array, ""], total: Float[Array, ""]) -> Float[Array, ""]:
        first, last = first_and_last_tile(ellipse, first_row + k, grid)
        return total + jnp.sum(jnp.where(k < num_rows, last - first + 1, 0).astype(jnp.float32))

    total = lax.fori_loop(0, jnp.max(num_rows, initial=0), add_row, jnp.float32(0))
    return jnp.where(total < _LARGEST, jnp.minimum(total, _LARGEST).astype(jnp.int32), MAX_INT)
