"""Tile lists cut into segments of bounded length, so that several programs share a crowded tile."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Int

from kernels.bin_tiles.expand import expand


class Segments(NamedTuple):
    """Consecutive pieces of the tile lists; the unused ones at the end are empty."""

    tile: Int[Array, "S"]
    begin: Int[Array, "S"]  # list range
    end: Int[Array, "S"]
    of_tile: Int[Array, "tiles_and_end"]  # segment range of every tile


def max_segments(capacity: int, num_tiles: int, length: int) -> int:
    """Compute the largest number of segments that lists of `capacity` intersections can have."""
    return capacity // length + num_tiles


def cut(tile_starts: Int[Array, "tiles_and_end"], count: int, length: int) -> Segments:
    """Cut every tile list into segments of at most `length` intersections."""
    pieces = (tile_starts[1:] - tile_starts[:-1] + length - 1) // length
    end = jnp.cumsum(pieces).astype(jnp.int32)
    of_tile = jnp.pad(end, (1, 0))
    tile = expand(pieces, end, count)
    k = jnp.arange(count, dtype=jnp.int32)
    begin = tile_starts[tile] + (k - of_tile[tile]) * length
    is_used = k < end[-1]
    stop = jnp.minimum(begin + length, tile_starts[tile + 1])
    return Segments(tile, jnp.where(is_used, begin, 0), jnp.where(is_used, stop, 0), of_tile)
