"""Tile lists by two expansions and one stable sort, in jnp.

Gaussians are sorted by depth once; each is expanded into the tile rows it touches, each row into the tiles
that the ellipse touches there. One *stable* sort by tile number then leaves every tile's list front to back:
a 16-bit key needs a quarter of the radix passes of the usual 64-bit (tile, depth) key.
"""

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int, UInt

from kernels.bin_tiles.expand import expand
from kernels.bin_tiles.tile_spans import first_and_last_tile, level_of, rows_of
from kernels.bin_tiles.types import Bins, tile_grid

MAX_INT = 2**31 - 1


def bin_tiles(
    mean2d: Float[Array, "N 2"],
    conic: Float[Array, "N 3"],
    opacity: Float[Array, "N"],
    extent: Float[Array, "N 2"],
    depth: Float[Array, "N"],
    *,
    width: int,
    height: int,
    tile: int,
    capacity: int,
    part: int | Int[Array, ""] = 0,
    parts: int = 1,
) -> Bins:
    """List the Gaussians of every tile; see `kernels.bin_tiles.bin_tiles`."""
    columns, rows = tile_grid(width, height, tile)
    level = level_of(mean2d, conic, opacity, extent, depth)
    order = sort_by_depth(level, depth)
    # Rows are laid side by side before they are gathered: otherwise the gather would be one per column.
    packed = lax.optimization_barrier(jnp.concatenate([mean2d, conic, extent, level[:, None]], -1))[order]

    row_first, row_count = rows_of(packed[:, 1], packed[:, 6], packed[:, 7], height, tile, part, parts)
    row_end = jnp.cumsum(row_count)
    owner = expand(row_count, row_end, capacity)  # depth rank of every (Gaussian, tile row) pair
    # An empty pair past the end must own nothing: it would otherwise count for the last Gaussian again.
    live = jnp.arange(capacity) < row_end[-1]
    table = lax.optimization_barrier(jnp.stack([row_first - parts * (row_end - row_count), order], -1))[owner]
    seen = packed[owner]
    splat = tuple(seen[:, k] for k in range(seen.shape[1]))
    row = table[:, 0] + parts * jnp.arange(capacity, dtype=jnp.int32)
    first, last = first_and_last_tile(splat[:2], splat[2:5], splat[5:7], splat[7], row, width, height, tile)
    count = jnp.where(live, last - first + 1, 0)
    end = jnp.cumsum(count)

    pair = expand(count, end, capacity)
    slot = jnp.arange(capacity, dtype=jnp.int32)
    place = lax.optimization_barrier(jnp.stack([row * columns + first - (end - count), table[:, 1]], -1))[pair]
    tiles = jnp.where(slot < end[-1], place[:, 0] + slot, rows * columns)
    tiles, emission = sort_by_tile(tiles, rows * columns)
    # As a loop variable of the unrolled search, the numbers would cost the compiler for CPUs of jax 0.11 minutes.
    numbers = lax.optimization_barrier(jnp.arange(rows * columns + 1, dtype=tiles.dtype))
    starts = jnp.searchsorted(tiles, numbers, method="scan_unrolled")
    ends = jnp.minimum(jnp.pad(end, (1, 0)), capacity)
    first_slot = ends[jnp.minimum(row_end - row_count, capacity)]
    last_slot = ends[jnp.minimum(row_end, capacity)]
    needed = _needed(end[-1], row_end[-1:], row_count, packed, width, tile, capacity)
    ids = place[:, 1][emission]
    return Bins(ids, starts.astype(jnp.int32), emission, order, first_slot, last_slot, needed)


def sort_by_depth(level: Float[Array, "N"], depth: Float[Array, "N"]) -> Int[Array, "N"]:
    """Return the Gaussians front to back, those of level 0 last."""
    keys, places = jnp.where(level > 0, depth, jnp.inf), jnp.arange(level.shape[0], dtype=jnp.int32)
    return lax.sort((keys, places), num_keys=1, is_stable=True)[1]


def sort_by_tile(tiles: Int[Array, "n"], last: int) -> tuple[UInt[Array, "n"], Int[Array, "n"]]:
    """Sort tile numbers in 0..last stably; return them with the place that each came from."""
    n = tiles.shape[0]
    places = jnp.arange(n, dtype=jnp.int32)
    if (last + 1) * n <= 2**32:  # tile and place fit one key: 7 times faster on a CPU than a sort of pairs
        keys = lax.sort(tiles.astype(jnp.uint32) * jnp.uint32(n) + places.astype(jnp.uint32))
        return keys // jnp.uint32(n), (keys % jnp.uint32(n)).astype(jnp.int32)
    key_type = jnp.uint16 if last < 2**16 else jnp.uint32
    return tuple(lax.sort((tiles.astype(key_type), places), num_keys=1, is_stable=True))


def _needed(
    exact: Int[Array, ""],
    pairs: Int[Array, "1"],
    row_count: Int[Array, "N"],
    packed: Float[Array, "N 8"],
    width: int,
    tile: int,
    capacity: int,
) -> Int[Array, ""]:
    """Return the exact count, or an upper bound of it where the (Gaussian, tile row) pairs overflow."""
    columns = jnp.minimum(2 * packed[:, 5] / tile + 2, -(-width // tile))
    bound = jnp.sum(columns * row_count)  # float32: cannot wrap around
    bound = jnp.where(bound < 2.0e9, jnp.minimum(bound, 2.0e9).astype(jnp.int32), MAX_INT)
    return jnp.where(jnp.sum(pairs) > capacity, jnp.maximum(bound, jnp.sum(pairs)), exact).astype(jnp.int32)
