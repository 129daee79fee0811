"""Tile lists by brute force: the specification of `bin_tiles`, for small scenes."""

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Int

from kernels.bin_tiles.tile_spans import Ellipse, first_and_last_tile, level_of
from kernels.bin_tiles.types import Bins, TileGrid
from kernels.project.types import Projected


def bin_tiles(projected: Projected, part: int | Int[Array, ""], grid: TileGrid, capacity: int, num_parts: int) -> Bins:
    """List the Gaussians of every tile from the dense table (depth rank, tile row, tile column)."""
    level = level_of(projected)
    order = jnp.argsort(jnp.where(level > 0, projected.depth, jnp.inf), stable=True).astype(jnp.int32)
    row, column = jnp.arange(grid.rows), jnp.arange(grid.columns)
    arrays = projected.mean2d, projected.conic, projected.extent
    mean2d, conic, extent = (tuple(a[order].T[..., None]) for a in arrays)
    ellipse = Ellipse(mean2d, conic, extent, level[order][:, None])
    first, last = first_and_last_tile(ellipse, row[None, :], grid)
    hit = (first[..., None] <= column) & (column <= last[..., None])  # (N, rows, columns)
    hit = hit & (row % num_parts == part)[:, None]

    count = jnp.sum(hit, (1, 2))
    slot = (jnp.cumsum(hit.ravel()) - 1).astype(jnp.int32).reshape(hit.shape)  # emission: depth, row, column
    by_tile = jnp.moveaxis(hit, 0, 2).reshape(grid.num_tiles, -1)  # front to back within a tile
    slot_by_tile = jnp.moveaxis(slot, 0, 2).reshape(by_tile.shape)
    fits = by_tile & (slot_by_tile < capacity)
    place = jnp.where(fits, jnp.cumsum(fits.ravel()).reshape(fits.shape) - 1, capacity)
    rank = jnp.broadcast_to(jnp.arange(order.shape[0]), fits.shape)
    zeros = jnp.zeros(capacity, jnp.int32)
    end = jnp.cumsum(count)
    return Bins(
        ids=zeros.at[place].set(order[rank], mode="drop"),
        tile_starts=jnp.pad(jnp.cumsum(jnp.sum(fits, 1)), (1, 0)).astype(jnp.int32),
        emission=zeros.at[place].set(slot_by_tile, mode="drop"),
        order=order,
        first=jnp.minimum(end - count, capacity).astype(jnp.int32),
        last=jnp.minimum(end, capacity).astype(jnp.int32),
        num_intersections=lax.convert_element_type(jnp.sum(count), jnp.int32),
        grid=grid,
    )
