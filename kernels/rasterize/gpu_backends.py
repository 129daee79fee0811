"""Layout of a tile's pixels in registers, and launch of kernels, for the two backends of Pallas on a GPU.

One kernel body serves both: the `Backend` implements the differences. A tile is an array of the backend's
`shape_of(tile)`, with pixel p = y * tile + x at place p of the flattened array.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu, triton
from jaxtyping import Float, Int

from kernels.bin_tiles.types import TileGrid
from kernels.common.pallas import Launch, launch
from kernels.rasterize import warp_reduction
from kernels.rasterize.alpha_blending import PixelCotangents, cotangent_moments

Ref = Any  # a Pallas reference


@dataclass(frozen=True)
class Triton:
    """A tile is an array (rows, lanes) in one warp, with lanes a multiple of the tile's side.

    Then x depends on the lane alone, a thread holds one column of the array, and terms of x alone are
    computed once for all pixels of a thread; sums over rows stay inside the thread.

    For aligned addresses the compiler gives each thread neighboring pixels of a row (wide loads) and keeps that
    layout for all arithmetic. `anchor` hides the alignment from the compiler.

    Attributes:
        interpret: run without a GPU.
    """

    interpret: bool
    is_output_uninitialized = False  # if so, kernels must write all entries of their results

    def shape_of(self, tile: int) -> tuple[int, ...]:
        """Compute the shape (rows, lanes) of a tile: a lane per thread, or per pixel of a row if that is longer."""
        lanes = max(tile, min(warp_reduction.WARP, tile * tile))
        return tile * tile // lanes, lanes

    def run(self, kernel: Callable, how: Launch, shapes: list, *operands: Array, in_place: bool = False) -> list[Array]:
        """Run kernel(*references, backend=self) and return its float32 results.

        If `in_place`, the first result reuses the memory of the last operand.
        """
        kernel, aliased = functools.partial(kernel, backend=self), len(operands) - 1 if in_place else None
        return launch(kernel, how, shapes, *operands, interpret=self.interpret, aliased_operand=aliased)

    def program(self) -> Int[Array, ""]:
        """Return the number of this program."""
        return pl.program_id(0)

    def pixel_centers(self, index: Int[Array, ""], grid: TileGrid) -> tuple[Array, Array]:
        """Compute x (1, lanes) and y (rows, lanes) of the pixel centers of a tile."""
        tile, columns, (rows, lanes) = grid.tile, grid.columns, self.shape_of(grid.tile)
        lane = jnp.arange(lanes, dtype=jnp.int32)[None, :]
        row = jnp.arange(rows, dtype=jnp.int32)[:, None] * (lanes // tile)
        x = (index % columns * tile + lane % tile).astype(jnp.float32) + 0.5
        y = (index // columns * tile + lane // tile + row).astype(jnp.float32) + 0.5
        return x, y

    def load(self, ref: Ref, *index: Any, zero: Int[Array, ""]) -> Float[Array, "..."]:
        """Load the pixels of a tile from an array (..., *shape_of)."""
        return triton.load(_at(ref, index, zero))

    def store(self, ref: Ref, *index: Any, value: Float[Array, "..."], zero: Int[Array, ""]) -> None:
        """Store the pixels of a tile to an array (..., *shape_of)."""
        triton.store(_at(ref, index, zero), value)

    def moments(self, cotangents: PixelCotangents) -> list[Float[Array, "lanes"]]:
        """Sum `cotangent_moments` over rows; dx, the same in all rows, is multiplied after the sum."""
        slope_dy = cotangents.slope * cotangents.dy
        one, y, yy = (jnp.sum(values, 0) for values in (cotangents.slope, slope_dy, slope_dy * cotangents.dy))
        dx = cotangents.dx.reshape(one.shape)
        x = one * dx
        return [one, x, y, x * dx, y * dx, yy]

    def write_totals(self, ref: Ref, row: Int[Array, ""], parts: list[Float[Array, "..."]]) -> None:
        """Store the totals of `parts` over a tile as the columns of a row.

        Sums over rows are WARP numbers, one per thread of a warp. In a program of several warps, each warp has all sums
        and stores the same values.

        Args:
            ref: an array (rows, columns).
            row: of the array.
            parts: numbers of all pixels, or their sums over rows.
        """
        lanes = [jnp.sum(part, 0) if part.ndim > 1 else part for part in parts]
        if self.interpret or lanes[0].shape != (warp_reduction.WARP,):
            for k, values in enumerate(lanes):
                ref[row, k] = jnp.sum(values)
        else:
            for values, column in warp_reduction.totals(lanes):
                triton.store(ref.at[row, column], values)


@dataclass(frozen=True)
class Mosaic:
    """A tile is a vector in the four warps of a warpgroup, two pixels per thread for tiles of 16 x 16."""

    is_output_uninitialized = True

    def shape_of(self, tile: int) -> tuple[int, ...]:
        """Return the number of pixels."""
        return (tile * tile,)

    def run(self, kernel: Callable, how: Launch, shapes: list, *operands: Array, in_place: bool = False) -> list[Array]:
        """See `Triton`; a program is always one warpgroup, and results are uninitialized."""
        del in_place

        def body(*refs: Ref) -> None:
            kernel(*refs, backend=self)

        body.__name__ = how.name  # in profilers
        run = mosaic_gpu.kernel(
            body,
            out_type=[jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes],
            grid=(how.num_programs,),
            grid_names=("program",),
            compiler_params=mosaic_gpu.CompilerParams(lowering_semantics=mosaic_gpu.LoweringSemantics.Warpgroup),
        )
        return list(run(*operands))

    def program(self) -> Int[Array, ""]:
        """See `Triton`."""
        return lax.axis_index("program")

    def pixel_centers(self, index: Int[Array, ""], grid: TileGrid) -> tuple[Array, Array]:
        """See `Triton`."""
        tile, columns = grid.tile, grid.columns
        place = lax.iota(jnp.int32, tile * tile)
        x = (place % tile + index % columns * tile).astype(jnp.float32) + 0.5
        y = (place // tile + index // columns * tile).astype(jnp.float32) + 0.5
        return x, y

    def load(self, ref: Ref, *index: Any, zero: Int[Array, ""]) -> Float[Array, "..."]:
        """See `Triton`."""
        return ref[index]

    def store(self, ref: Ref, *index: Any, value: Float[Array, "..."], zero: Int[Array, ""]) -> None:
        """See `Triton`."""
        ref[index] = value

    def moments(self, cotangents: PixelCotangents) -> list[Float[Array, "pixels"]]:
        """See `cotangent_moments`."""
        return list(cotangent_moments(cotangents))

    def write_totals(self, ref: Ref, row: Int[Array, ""], parts: list[Float[Array, "pixels"]]) -> None:
        """See `Triton`."""
        for k, values in enumerate(parts):
            ref[row, k] = jnp.sum(values)


Backend = Triton | Mosaic


def anchor(begin: Int[Array, ""]) -> Int[Array, ""]:
    """Compute 0 from a nonnegative number in a way that the compiler cannot fold."""
    return jnp.minimum(begin, 0)


def _at(ref: Ref, index: tuple, zero: Int[Array, ""]) -> Ref:
    """Index the (rows, lanes) block at `index`."""
    rows, lanes = (jnp.arange(n, dtype=jnp.int32) for n in ref.shape[-2:])
    return ref.at[(*index, rows[:, None], lanes[None, :] + zero)]
