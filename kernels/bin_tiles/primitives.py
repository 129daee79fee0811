"""`bin_tiles` as a primitive, for the form that runs as kernels: nothing to differentiate, a lowering per platform."""

from typing import Any

from jax import Array
from jax.extend.core import Primitive

from kernels.bin_tiles import pallas_gpu
from kernels.bin_tiles.types import Bins, tile_grid
from kernels.common.primitives import bind, define

BIN = Primitive("bin_tiles")


def bin_primitive(*arrays: Array, **params: int) -> Bins:
    """Return the lists; the arrays are those of `pallas_gpu.bin_tiles`."""
    return Bins(*bind(BIN, *arrays, **params))


def _run(*arrays: Array, **params: Any) -> list[Array]:
    return list(pallas_gpu.bin_tiles(*arrays, **params))


def _shapes(mean2d: Any, *rest: Any, width: int, height: int, tile: int, capacity: int, parts: int) -> list:
    part, (columns, rows), N = rest[-1], tile_grid(width, height, tile), mean2d.shape[0]
    shapes = ((capacity,), (columns * rows + 1,), (capacity,), (N,), (N,), (N,), ())
    return [part.update(shape=shape) for shape in shapes]


define(BIN, _run, _shapes)
