"""Tile lists by brute force: the specification of `bin_tiles`, for small scenes."""

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from kernels.bin_tiles.tile_spans import first_and_last_tile, level_of
from kernels.bin_tiles.types import Bins, tile_grid


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
    """List the Gaussians of every tile from the dense table (depth rank, tile row, tile column)."""
    columns, rows = tile_grid(width, height, tile)
    level = level_of(mean2d, conic, opacity, extent, depth)
    order = jnp.argsort(jnp.where(level > 0, depth, jnp.inf), stable=True).astype(jnp.int32)
    row = jnp.arange(rows)
    columns_of = [tuple(a[order].T[..., None]) for a in (mean2d, conic, extent)]
    first, last = first_and_last_tile(*columns_of, level[order][:, None], row[None, :], width, height, tile)
    column = jnp.arange(columns)
    hit = (first[..., None] <= column) & (column <= last[..., None])  # (N, rows, columns)
    hit = hit & (row % parts == part)[:, None]

    count = jnp.sum(hit, (1, 2))
    slot = (jnp.cumsum(hit.ravel()) - 1).astype(jnp.int32).reshape(hit.shape)  # emission: depth, row, column
    by_tile = jnp.moveaxis(hit, 0, 2).reshape(rows * columns, -1)  # front to back within a tile
    slot_by_tile = jnp.moveaxis(slot, 0, 2).reshape(by_tile.shape)
    kept = by_tile & (slot_by_tile < capacity)
    place = jnp.where(kept, jnp.cumsum(kept.ravel()).reshape(kept.shape) - 1, capacity)
    rank = jnp.broadcast_to(jnp.arange(order.shape[0]), kept.shape)
    zeros = jnp.zeros(capacity, jnp.int32)
    end = jnp.cumsum(count)
    return Bins(
        ids=zeros.at[place].set(order[rank], mode="drop"),
        tile_starts=jnp.pad(jnp.cumsum(jnp.sum(kept, 1)), (1, 0)).astype(jnp.int32),
        emission=zeros.at[place].set(slot_by_tile, mode="drop"),
        order=order,
        first=jnp.minimum(end - count, capacity).astype(jnp.int32),
        last=jnp.minimum(end, capacity).astype(jnp.int32),
        needed=lax.convert_element_type(jnp.sum(count), jnp.int32),
    )
