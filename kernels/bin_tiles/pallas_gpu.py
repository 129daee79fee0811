"""Tile lists by two kernels and two sorts (Triton backend).

Gaussians are sorted by depth; one kernel counts the tiles of each, one writes them to where the counts before it end.
A stable sort by tile number then leaves every tile's list front to back, as in `xla`.
"""

import functools
from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Float, Int

from kernels.bin_tiles.tile_spans import first_and_last_tile, level_of, rows_of
from kernels.bin_tiles.types import Bins, tile_grid
from kernels.bin_tiles.xla import MAX_INT, sort_by_depth, sort_by_tile
from kernels.common.pallas import launch, rows

BLOCK, WARPS = 64, 2  # Gaussians a program: all wait for the largest
ROW, ENOUGH = 256, 2_000_000_000
NUMBERS = 8  # mean2d 2, conic 3, extent 2, level


def bin_tiles(
    mean2d: Float[Array, "N 2"],
    conic: Float[Array, "N 3"],
    opacity: Float[Array, "N"],
    extent: Float[Array, "N 2"],
    depth: Float[Array, "N"],
    part: Int[Array, ""],
    *,
    width: int,
    height: int,
    tile: int,
    capacity: int,
    parts: int,
    interpret: bool,
) -> Bins:
    """List the Gaussians of every tile; see `kernels.bin_tiles.bin_tiles`."""
    columns, tile_rows = tile_grid(width, height, tile)
    tiles, N = columns * tile_rows, mean2d.shape[0]
    level = level_of(mean2d, conic, opacity, extent, depth)
    order = sort_by_depth(level, depth)
    table = jnp.concatenate([mean2d, conic, extent, level[:, None]], -1)
    shape = {"width": width, "height": height, "tile": tile, "parts": parts}
    visible = jnp.sum(level > 0, dtype=jnp.int32)  # the others come last in the order, and are not even read
    programs, operands = pl.cdiv(N, BLOCK), (order, table, jnp.stack([part, visible]))
    count_kernel = functools.partial(_count_kernel, **shape)
    (count,) = launch(count_kernel, "bin_count", programs, [(N,)], WARPS, interpret, *operands, dtype=jnp.int32)
    begin, needed = _begins(count)
    # What does not fit is written nowhere, each to a place of its own behind the end.
    shapes = [(capacity + BLOCK,)] * 2
    emit_kernel = functools.partial(_emit_kernel, **shape, columns=columns, capacity=capacity)
    operands = *operands, begin
    found, owner = launch(emit_kernel, "bin_emit", programs, shapes, WARPS, interpret, *operands, dtype=jnp.int32)
    found = jnp.where(jnp.arange(capacity) < needed, found[:capacity], tiles)
    listed, emission = sort_by_tile(found, tiles)
    starts = jnp.searchsorted(listed, jnp.arange(tiles + 1, dtype=listed.dtype), method="scan_unrolled")
    first, last = (jnp.minimum(x, capacity) for x in (begin, begin + count))
    return Bins(owner[emission], starts.astype(jnp.int32), emission, order, first, last, needed)


def _begins(count: Int[Array, "N"]) -> tuple[Int[Array, "N"], Int[Array, ""]]:
    """Return the sum of the counts before every Gaussian, at most about ENOUGH, and of all: MAX_INT if it is more.

    Sums of the sums of ROW are taken in floating point too, which cannot wrap around.
    """
    N = count.shape[0]
    by_row = jnp.pad(count, (0, -N % ROW)).reshape(-1, ROW)
    inside = jnp.cumsum(by_row, 1)
    exact, about = (jnp.cumsum(inside[:, -1].astype(dtype)) for dtype in (jnp.int32, jnp.float32))
    behind = jnp.where(about < ENOUGH, exact, ENOUGH)
    begin = jnp.pad(behind[:-1], (1, 0))[:, None] + inside - by_row
    return begin.reshape(-1)[:N], jnp.where(about[-1] < ENOUGH, exact[-1], MAX_INT)


# ---- kernel bodies: every reference is the whole array


def _load(order_ref: Any, table_ref: Any, about_ref: Any, height: int, tile: int, parts: int) -> tuple:
    """Return the ranks of a program, their Gaussians and numbers, the first of their tile rows and how many.

    `about_ref` holds the part, and how many Gaussians are visible.
    """
    rank = rows(BLOCK)
    seen = rank < about_ref[1]
    index = plgpu.load(order_ref.at[rank], mask=seen, other=0)
    splat = tuple(plgpu.load(table_ref.at[index, k], mask=seen, other=0.0) for k in range(NUMBERS))
    first, count = rows_of(splat[1], splat[6], splat[7], height, tile, about_ref[0], parts)
    return rank, index, splat, first, jnp.where(seen, count, 0)


def _tiles(splat: tuple, row: Array, width: int, height: int, tile: int) -> tuple[Array, Array]:
    """Return the first tile of a tile row that a Gaussian touches, and how many."""
    first, last = first_and_last_tile(splat[:2], splat[2:5], splat[5:7], splat[7], row, width, height, tile)
    return first, last - first + 1


def _count_kernel(
    order_ref: Any, table_ref: Any, about_ref: Any, count_ref: Any, *, width: int, height: int, tile: int, parts: int
) -> None:
    rank, _, splat, row, tile_rows = _load(order_ref, table_ref, about_ref, height, tile, parts)

    def add(k: Array, total: Array) -> Array:
        return total + jnp.where(k < tile_rows, _tiles(splat, row + k * parts, width, height, tile)[1], 0)

    total = lax.fori_loop(0, jnp.max(tile_rows), add, jnp.zeros(BLOCK, jnp.int32))
    plgpu.store(count_ref.at[rank], total, mask=rank < count_ref.shape[0])


def _emit_kernel(
    order_ref: Any,
    table_ref: Any,
    about_ref: Any,
    begin_ref: Any,
    tile_ref: Any,
    owner_ref: Any,
    *,
    width: int,
    height: int,
    tile: int,
    parts: int,
    columns: int,
    capacity: int,
) -> None:
    rank, index, splat, row, tile_rows = _load(order_ref, table_ref, about_ref, height, tile, parts)
    begin = plgpu.load(begin_ref.at[jnp.minimum(rank, begin_ref.shape[0] - 1)])
    nowhere = capacity + jnp.arange(BLOCK, dtype=jnp.int32)

    def emit_row(k: Array, slot: Array) -> Array:
        first, count = _tiles(splat, row + k * parts, width, height, tile)
        count = jnp.where(k < tile_rows, count, 0)
        room = jnp.minimum(count, capacity - slot)

        def emit(j: Array, _: None) -> None:
            fits = j < room
            place = jnp.where(fits, slot + j, nowhere)
            plgpu.store(tile_ref.at[place], (row + k * parts) * columns + first + j, mask=fits)
            plgpu.store(owner_ref.at[place], index, mask=fits)

        lax.fori_loop(0, jnp.max(room), emit, None)
        return slot + count

    lax.fori_loop(0, jnp.max(tile_rows), emit_row, begin)
