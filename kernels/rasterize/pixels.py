"""How the pixels of a tile lie in the registers of a warp.

A tile is an array (rows, lanes): pixel p = row * lanes + lane in the usual row-major order, with lanes a multiple of
the tile's side. Then x depends on the lane alone, a thread holds one column of the array, and whatever depends on x
alone is computed once for all pixels of a thread, sums over rows stay inside the thread.

The compiler would rather give a thread neighbouring pixels of a row, as wide loads like them, and would keep that
layout for all arithmetic. `anchor` hides from it that rows start at aligned addresses, so that it has no reason to.
"""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Float, Int

from kernels.bin_tiles.types import tile_grid

WARP = 32
Ref = Any  # a Pallas reference


def lanes_of(tile: int) -> int:
    """Return the number of lanes of a tile: a warp, or a row of pixels if that is longer."""
    return max(tile, min(WARP, tile * tile))


def shape_of(tile: int) -> tuple[int, int]:
    """Return (rows, lanes) of a tile."""
    return tile * tile // lanes_of(tile), lanes_of(tile)


def centres(index: Int[Array, ""], width: int, tile: int) -> tuple[Float[Array, "1 lanes"], Float[Array, "rows lanes"]]:
    """Return the x and y of the pixel centres of tile number `index` in an image of `width` pixels."""
    columns, (rows, lanes) = tile_grid(width, 1, tile)[0], shape_of(tile)
    lane = jnp.arange(lanes, dtype=jnp.int32)[None, :]
    row = jnp.arange(rows, dtype=jnp.int32)[:, None] * (lanes // tile)
    x = (index % columns * tile + lane % tile).astype(jnp.float32) + 0.5
    y = (index // columns * tile + lane // tile + row).astype(jnp.float32) + 0.5
    return x, y


def anchor(begin: Int[Array, ""]) -> Int[Array, ""]:
    """Return 0, computed from a number that is never negative, which the compiler does not know."""
    return jnp.minimum(begin, 0)


def _at(ref: Ref, index: tuple, shape: tuple[int, int], zero: Int[Array, ""]) -> Ref:
    """Return the reference to the (rows, lanes) block behind `index`."""
    rows, lanes = (jnp.arange(n, dtype=jnp.int32) for n in shape)
    return ref.at[(*index, rows[:, None], lanes[None, :] + zero)]


def load(ref: Ref, *index: Any, zero: Int[Array, ""]) -> Float[Array, "rows lanes"]:
    """Load the pixels of a tile from an array (..., rows, lanes)."""
    return plgpu.load(_at(ref, index, ref.shape[-2:], zero))


def store(ref: Ref, *index: Any, value: Float[Array, "rows lanes"], zero: Int[Array, ""]) -> None:
    """Store the pixels of a tile to an array (..., rows, lanes)."""
    plgpu.store(_at(ref, index, ref.shape[-2:], zero), value)


def total(values: Float[Array, "rows lanes"]) -> Float[Array, ""]:
    """Return the sum over a tile, rows first: that part stays inside the threads."""
    return jnp.sum(jnp.sum(values, 0))
