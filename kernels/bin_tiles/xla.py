"""Tile lists by two expansions and one stable sort, in jnp.

Gaussians are sorted by depth once; each is expanded into the tile rows it touches, each row into the tiles
that the ellipse touches there. One *stable* sort by tile number then leaves every tile's list front to back:
a 16-bit key needs a quarter of the radix passes of the usual 64-bit (tile, depth) key.
"""

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int, UInt

from kernels.bin_tiles.expand import expand
from kernels.bin_tiles.tile_spans import (
    ELLIPSE_COLUMNS,
    Ellipse,
    ellipse_of,
    ellipse_table,
    first_and_last_tile,
    level_of,
    row_span,
)
from kernels.bin_tiles.types import Bins, TileGrid
from kernels.project.types import Projected

MAX_INT = 2**31 - 1


def bin_tiles(projected: Projected, part: int | Int[Array, ""], grid: TileGrid, capacity: int, num_parts: int) -> Bins:
    """List the Gaussians of every tile; see `kernels.bin_tiles.bin_tiles`."""
    level = level_of(projected)
    order = sort_by_depth(level, projected.depth)
    # Concatenate before the gather: otherwise XLA emits one gather per column.
    packed = lax.optimization_barrier(ellipse_table(projected, level))[order]

    row_first, row_count = row_span(_ellipses(packed), grid, part, num_parts)
    row_end = jnp.cumsum(row_count)
    owner = expand(row_count, row_end, capacity)  # depth rank of every (Gaussian, tile row) pair
    # An empty pair past the end must own nothing: otherwise it counts for the last Gaussian again.
    live = jnp.arange(capacity) < row_end[-1]
    table = lax.optimization_barrier(jnp.stack([row_first - num_parts * (row_end - row_count), order], -1))[owner]
    ellipse = _ellipses(packed[owner])
    row = table[:, 0] + num_parts * jnp.arange(capacity, dtype=jnp.int32)
    first, last = first_and_last_tile(ellipse, row, grid)
    count = jnp.where(live, last - first + 1, 0)
    end = jnp.cumsum(count)

    pair = expand(count, end, capacity)
    slot = jnp.arange(capacity, dtype=jnp.int32)
    place = lax.optimization_barrier(jnp.stack([row * grid.columns + first - (end - count), table[:, 1]], -1))[pair]
    tiles = jnp.where(slot < end[-1], place[:, 0] + slot, grid.num_tiles)
    tiles, emission = sort_by_tile(tiles, grid.num_tiles)
    # optimization_barrier: without it the CPU compiler of jax 0.11 takes minutes on the unrolled search.
    numbers = lax.optimization_barrier(jnp.arange(grid.num_tiles + 1, dtype=tiles.dtype))
    starts = jnp.searchsorted(tiles, numbers, method="scan_unrolled")
    ends = jnp.minimum(jnp.pad(end, (1, 0)), capacity)
    return Bins(
        ids=place[:, 1][emission],
        tile_starts=starts.astype(jnp.int32),
        emission=emission,
        order=order,
        first=ends[jnp.minimum(row_end - row_count, capacity)],
        last=ends[jnp.minimum(row_end, capacity)],
        num_intersections=_num_intersections(end[-1], row_end[-1:], row_count, packed[:, 5], grid, capacity),
        grid=grid,
    )


def _ellipses(table: Float[Array, "n 8"]) -> Ellipse:
    """Split an `ellipse_table` into columns."""
    return ellipse_of([table[:, k] for k in range(ELLIPSE_COLUMNS)])


def sort_by_depth(level: Float[Array, "N"], depth: Float[Array, "N"]) -> Int[Array, "N"]:
    """Sort the Gaussians front to back, those of level 0 last; return their indices."""
    keys, places = jnp.where(level > 0, depth, jnp.inf), jnp.arange(level.shape[0], dtype=jnp.int32)
    return lax.sort((keys, places), num_keys=1, is_stable=True)[1]


def sort_by_tile(tiles: Int[Array, "n"], last: int) -> tuple[UInt[Array, "n"], Int[Array, "n"]]:
    """Sort tile numbers in 0..last stably; return them with their original positions."""
    n = tiles.shape[0]
    places = jnp.arange(n, dtype=jnp.int32)
    if (last + 1) * n <= 2**32:  # tile and place fit one key: 7 times faster on a CPU than a sort of pairs
        keys = lax.sort(tiles.astype(jnp.uint32) * jnp.uint32(n) + places.astype(jnp.uint32))
        return keys // jnp.uint32(n), (keys % jnp.uint32(n)).astype(jnp.int32)
    key_type = jnp.uint16 if last < 2**16 else jnp.uint32
    keys, places = lax.sort((tiles.astype(key_type), places), num_keys=1, is_stable=True)
    return keys, places


def _num_intersections(
    exact: Int[Array, ""],
    pairs: Int[Array, "1"],
    row_count: Int[Array, "N"],
    half_width: Float[Array, "N"],
    grid: TileGrid,
    capacity: int,
) -> Int[Array, ""]:
    """Count exactly, or compute an upper bound where the (Gaussian, tile row) pairs overflow the capacity."""
    columns = jnp.minimum(2 * half_width / grid.tile + 2, grid.columns)
    bound = jnp.sum(columns * row_count)  # float32: cannot wrap around
    bound = jnp.where(bound < 2.0e9, jnp.minimum(bound, 2.0e9).astype(jnp.int32), MAX_INT)
    return jnp.where(jnp.sum(pairs) > capacity, jnp.maximum(bound, jnp.sum(pairs)), exact).astype(jnp.int32)
