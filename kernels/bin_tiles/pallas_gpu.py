"""Tile lists by two kernels and two sorts (Triton backend).

Gaussians are sorted by depth. One kernel counts the tiles of each Gaussian, a second writes them behind those of the
Gaussians in front. A stable sort by tile number then leaves every tile's list front to back, as in `xla`.
"""

import functools
from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Int

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
from kernels.bin_tiles.xla import MAX_INT, sort_by_depth, sort_by_tile
from kernels.common.pallas import Launch, launch, program_rows
from kernels.project.types import Projected

BLOCK, WARPS = 64, 2  # Gaussians and warps of a program: all Gaussians wait for the largest
SUM_LENGTH, SUM_LIMIT = 256, 2_000_000_000  # counts per partial sum; larger sums are not exact


def bin_tiles(
    projected: Projected, part: Int[Array, ""], grid: TileGrid, capacity: int, num_parts: int, interpret: bool
) -> Bins:
    """List the Gaussians of every tile; see `kernels.bin_tiles.bin_tiles`."""
    N = projected.depth.shape[0]
    level = level_of(projected)
    order = sort_by_depth(level, projected.depth)
    table = ellipse_table(projected, level)
    num_visible = jnp.sum(level > 0, dtype=jnp.int32)  # the others come last in the order, and are not even read
    programs, operands = pl.cdiv(N, BLOCK), (order, table, jnp.stack([part, num_visible]))
    count_kernel = functools.partial(_count_kernel, grid=grid, num_parts=num_parts)
    how = Launch("bin_count", programs, WARPS)
    (count,) = launch(count_kernel, how, [(N,)], *operands, interpret=interpret, dtype=jnp.int32)
    begin, num_intersections = _begins(count)
    # Each overflowing store gets an address of its own behind the end.
    shapes = [(capacity + BLOCK,)] * 2
    emit_kernel = functools.partial(_emit_kernel, grid=grid, num_parts=num_parts, capacity=capacity)
    how = Launch("bin_emit", programs, WARPS)
    tiles, owner = launch(emit_kernel, how, shapes, *operands, begin, interpret=interpret, dtype=jnp.int32)
    tiles = jnp.where(jnp.arange(capacity) < num_intersections, tiles[:capacity], grid.num_tiles)
    tiles, emission = sort_by_tile(tiles, grid.num_tiles)
    numbers = jnp.arange(grid.num_tiles + 1, dtype=tiles.dtype)
    starts = jnp.searchsorted(tiles, numbers, method="scan_unrolled")
    first, last = (jnp.minimum(x, capacity) for x in (begin, begin + count))
    return Bins(owner[emission], starts.astype(jnp.int32), emission, order, first, last, num_intersections, grid)


def _begins(count: Int[Array, "N"]) -> tuple[Int[Array, "N"], Int[Array, ""]]:
    """Compute the exclusive prefix sum, saturated near SUM_LIMIT, and the total, MAX_INT if it exceeds SUM_LIMIT.

    The totals of SUM_LENGTH counts are summed in floating point too, which cannot wrap around.
    """
    N = count.shape[0]
    by_row = jnp.pad(count, (0, -N % SUM_LENGTH)).reshape(-1, SUM_LENGTH)
    inside = jnp.cumsum(by_row, 1)
    exact, approximate = (jnp.cumsum(inside[:, -1].astype(dtype)) for dtype in (jnp.int32, jnp.float32))
    behind = jnp.where(approximate < SUM_LIMIT, exact, SUM_LIMIT)
    begin = jnp.pad(behind[:-1], (1, 0))[:, None] + inside - by_row
    return begin.reshape(-1)[:N], jnp.where(approximate[-1] < SUM_LIMIT, exact[-1], MAX_INT)


# ---- kernel bodies: every reference is the whole array


def _load(
    order_ref: Any, table_ref: Any, scalars_ref: Any, grid: TileGrid, num_parts: int
) -> tuple[Array, Array, Ellipse, Array, Array]:
    """Load the ranks of a program, their Gaussians and ellipses, the first tile row and the number of tile rows.

    `scalars_ref` holds the part and the number of visible Gaussians.
    """
    rank = program_rows(BLOCK)
    is_visible = rank < scalars_ref[1]
    index = plgpu.load(order_ref.at[rank], mask=is_visible, other=0)
    columns = [plgpu.load(table_ref.at[index, k], mask=is_visible, other=0.0) for k in range(ELLIPSE_COLUMNS)]
    ellipse = ellipse_of(columns)
    first, count = row_span(ellipse, grid, scalars_ref[0], num_parts)
    return rank, index, ellipse, first, jnp.where(is_visible, count, 0)


def _tiles(ellipse: Ellipse, row: Array, grid: TileGrid) -> tuple[Array, Array]:
    """Compute the first tile of a tile row that a Gaussian touches, and the number of such tiles."""
    first, last = first_and_last_tile(ellipse, row, grid)
    return first, last - first + 1


def _count_kernel(
    order_ref: Any, table_ref: Any, scalars_ref: Any, count_ref: Any, *, grid: TileGrid, num_parts: int
) -> None:
    rank, _, ellipse, row, num_rows = _load(order_ref, table_ref, scalars_ref, grid, num_parts)

    def add(k: Array, total: Array) -> Array:
        return total + jnp.where(k < num_rows, _tiles(ellipse, row + k * num_parts, grid)[1], 0)

    total = lax.fori_loop(0, jnp.max(num_rows), add, jnp.zeros(BLOCK, jnp.int32))
    plgpu.store(count_ref.at[rank], total, mask=rank < count_ref.shape[0])


def _emit_kernel(*refs: Any, grid: TileGrid, num_parts: int, capacity: int) -> None:
    order_ref, table_ref, scalars_ref, begin_ref, tile_ref, owner_ref = refs
    rank, index, ellipse, row, num_rows = _load(order_ref, table_ref, scalars_ref, grid, num_parts)
    begin = plgpu.load(begin_ref.at[jnp.minimum(rank, begin_ref.shape[0] - 1)])
    overflow = capacity + jnp.arange(BLOCK, dtype=jnp.int32)

    def emit_row(k: Array, slot: Array) -> Array:
        first, count = _tiles(ellipse, row + k * num_parts, grid)
        count = jnp.where(k < num_rows, count, 0)
        num_fitting = jnp.minimum(count, capacity - slot)

        def emit(j: Array, _: None) -> None:
            fits = j < num_fitting
            place = jnp.where(fits, slot + j, overflow)
            plgpu.store(tile_ref.at[place], (row + k * num_parts) * grid.columns + first + j, mask=fits)
            plgpu.store(owner_ref.at[place], index, mask=fits)

        lax.fori_loop(0, jnp.max(num_fitting), emit, None)
        return slot + count

    lax.fori_loop(0, jnp.max(num_rows), emit_row, begin)
