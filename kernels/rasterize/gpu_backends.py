"""How the pixels of a tile lie in registers, and how a kernel starts, for the two backends of Pallas on a GPU.

One kernel body serves both: what differs is asked from the `Backend` it is given. A tile is an array of the backend's
`shape_of(tile)`, with pixel p = y * tile + x at place p of the flattened array.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu, triton
from jaxtyping import Float, Int

from kernels.bin_tiles.types import tile_grid
from kernels.common.pallas import launch
from kernels.rasterize import warp_reduction
from kernels.rasterize.alpha_blending import Pull, pull_moments

Ref = Any  # a Pallas reference


@dataclass(frozen=True)
class Triton:
    """A tile is an array (rows, lanes) in one warp, with lanes a multiple of the tile's side.

    Then x depends on the lane alone, a thread holds one column of the array, and whatever depends on x alone is
    computed once for all pixels of a thread; sums over rows stay inside the thread.

    The compiler would rather give a thread neighbouring pixels of a row, as wide loads like them, and would keep that
    layout for all arithmetic. `anchor` hides from it that rows start at aligned addresses.

    Attributes:
        interpret: run without a GPU.
    """

    interpret: bool
    fills = False  # whether kernels have to write all of their results: none takes over what an operand holds

    def shape_of(self, tile: int) -> tuple[int, ...]:
        """Return the shape (rows, lanes) of a tile: a lane per thread, or per pixel of a row if that is longer."""
        lanes = max(tile, min(warp_reduction.WARP, tile * tile))
        return tile * tile // lanes, lanes

    def start(
        self, kernel: Callable, name: str, programs: int, shapes: list, warps: int, *operands: Array, into: bool = False
    ) -> list[Array]:
        """Run a kernel and return its float32 results; with `into` the first takes over what the last operand holds."""
        place = len(operands) - 1 if into else None
        return launch(kernel, name, programs, shapes, warps, self.interpret, *operands, into=place)

    def program(self) -> Int[Array, ""]:
        """Return the number of this program."""
        return pl.program_id(0)

    def centres(self, index: Int[Array, ""], width: int, tile: int) -> tuple[Array, Array]:
        """Return x (1, lanes) and y (rows, lanes) of the pixel centres of a tile in an image `width` pixels wide."""
        columns, (rows, lanes) = tile_grid(width, 1, tile)[0], self.shape_of(tile)
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

    def moments(self, pull: Pull) -> list[Float[Array, "lanes"]]:
        """Return the sums of `pull_moments` over rows: dx is the same in all of them, so it waits for their sums."""
        by_y = pull.slope * pull.dy
        one, y, yy = (jnp.sum(values, 0) for values in (pull.slope, by_y, by_y * pull.dy))
        dx = pull.dx.reshape(one.shape)
        x = one * dx
        return [one, x, y, x * dx, y * dx, yy]

    def write_totals(self, ref: Ref, row: Int[Array, ""], parts: list[Float[Array, "..."]]) -> None:
        """Store the totals of `parts` over a tile as the columns of a row.

        Sums over rows of WARP numbers lie one in every thread of a warp; in a program of several warps each has them
        all, and all store the same.

        Args:
            ref: an array (rows, columns).
            row: which row.
            parts: numbers of all pixels, or already their sums over rows.
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
    """A tile is a vector in the four warps of a warpgroup, two pixels a thread for tiles of 16 x 16."""

    fills = True

    def shape_of(self, tile: int) -> tuple[int, ...]:
        """Return the number of pixels."""
        return (tile * tile,)

    def start(
        self, kernel: Callable, name: str, programs: int, shapes: list, warps: int, *operands: Array, into: bool = False
    ) -> list[Array]:
        """See `Triton`; a program is always one warpgroup, and results start from nothing."""
        del warps, into

        def body(*refs: Ref) -> None:
            kernel(*refs)

        body.__name__ = name  # under which profilers show it
        run = mosaic_gpu.kernel(
            body,
            out_type=[jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes],
            grid=(programs,),
            grid_names=("program",),
            compiler_params=mosaic_gpu.CompilerParams(lowering_semantics=mosaic_gpu.LoweringSemantics.Warpgroup),
        )
        return list(run(*operands))

    def program(self) -> Int[Array, ""]:
        """See `Triton`."""
        return lax.axis_index("program")

    def centres(self, index: Int[Array, ""], width: int, tile: int) -> tuple[Array, Array]:
        """See `Triton`."""
        columns = tile_grid(width, 1, tile)[0]
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

    def moments(self, pull: Pull) -> list[Float[Array, "pixels"]]:
        """Return `pull_moments` as a list."""
        return list(pull_moments(pull))

    def write_totals(self, ref: Ref, row: Int[Array, ""], parts: list[Float[Array, "pixels"]]) -> None:
        """See `Triton`."""
        for k, values in enumerate(parts):
            ref[row, k] = jnp.sum(values)


Backend = Triton | Mosaic


def anchor(begin: Int[Array, ""]) -> Int[Array, ""]:
    """Return 0, computed from a number that is never negative, which the compiler does not know."""
    return jnp.minimum(begin, 0)


def _at(ref: Ref, index: tuple, zero: Int[Array, ""]) -> Ref:
    """Return the reference to the (rows, lanes) block behind `index`."""
    rows, lanes = (jnp.arange(n, dtype=jnp.int32) for n in ref.shape[-2:])
    return ref.at[(*index, rows[:, None], lanes[None, :] + zero)]
