"""`bin_tiles` as a primitive, for the kernels: not differentiable, one lowering per platform."""

from typing import Any

from jax import Array
from jax.extend.core import Primitive
from jaxtyping import Int

from kernels.bin_tiles import pallas_gpu
from kernels.bin_tiles.types import Bins, TileGrid
from kernels.common.primitives import bind, define
from kernels.project.types import Projected

BIN = Primitive("bin_tiles")


def bin_primitive(projected: Projected, part: Int[Array, ""], grid: TileGrid, capacity: int, num_parts: int) -> Bins:
    """List the Gaussians of every tile; see `kernels.bin_tiles.bin_tiles`."""
    arrays = bind(BIN, *projected, part, grid=grid, capacity=capacity, num_parts=num_parts)
    return Bins(*arrays, grid=grid)


def _run(*operands: Array, grid: TileGrid, capacity: int, num_parts: int, interpret: bool) -> list[Array]:
    *projected, part = operands
    bins = pallas_gpu.bin_tiles(Projected(*projected), part, grid, capacity, num_parts, interpret)
    return list(bins.arrays)


def _shapes(*operands: Any, grid: TileGrid, capacity: int, num_parts: int) -> list:
    *projected, part = operands
    N = Projected(*projected).depth.shape[0]
    shapes = ((capacity,), (grid.num_tiles + 1,), (capacity,), (N,), (N,), (N,), ())
    return [part.update(shape=shape) for shape in shapes]


define(BIN, _run, _shapes)
