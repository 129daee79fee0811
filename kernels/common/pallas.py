"""Launch of Pallas kernels (Triton backend). References are whole arrays, which the kernel indexes itself."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, core
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import DTypeLike, Int

_ANYWHERE = pl.BlockSpec(memory_space=pl.ANY)


class Launch(NamedTuple):
    """How a kernel is launched."""

    name: str  # in profilers
    num_programs: int
    num_warps: int = 1  # per program


def launch(
    kernel: Callable,
    how: Launch,
    shapes: list[tuple[int, ...]],
    *operands: Array,
    interpret: bool,
    aliased_operand: int | None = None,
    dtype: DTypeLike = jnp.float32,
) -> list[Array]:
    """Run a kernel and return its results.

    Args:
        kernel: takes the references of the operands, then those of the results.
        how: name, grid and warps.
        shapes: of the results.
        operands: the inputs.
        interpret: run without a GPU.
        aliased_operand: position of an operand whose memory becomes the first result; entries that the kernel does not
            write keep their values.
        dtype: of the results.
    """
    results = pl.pallas_call(
        kernel,
        name=how.name,
        grid=(how.num_programs,),
        in_specs=[_ANYWHERE] * len(operands),
        out_specs=[_ANYWHERE] * len(shapes),
        out_shape=[core.ShapedArray(shape, dtype) for shape in shapes],
        compiler_params=plgpu.CompilerParams(num_warps=how.num_warps, num_stages=1),
        interpret=interpret,
        input_output_aliases={} if aliased_operand is None else {aliased_operand: 0},
    )(*operands)
    return list(results)


# ---- parts of kernels in which a thread handles one row of some arrays


def program_rows(block: int) -> Int[Array, "block"]:
    """Compute the row numbers of this program."""
    return pl.program_id(0) * block + jnp.arange(block, dtype=jnp.int32)


def load_columns(ref: Any, row: Array) -> list[Array]:
    """Load the columns of some rows; row numbers past the end load the last row."""
    row = jnp.minimum(row, ref.shape[0] - 1)
    if len(ref.shape) == 1:
        return [plgpu.load(ref.at[row])]
    return [plgpu.load(ref.at[row, k]) for k in range(ref.shape[1])]


def store_columns(ref: Any, row: Array, values: list[Array]) -> None:
    """Store the columns of some rows; row numbers past the end are skipped."""
    mask = row < ref.shape[0]
    for k, value in enumerate(values):
        plgpu.store(ref.at[row] if len(ref.shape) == 1 else ref.at[row, k], value, mask=mask)
