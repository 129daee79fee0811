"""How Pallas kernels (Triton backend) are started: references are whole arrays, which the kernel indexes itself."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import DTypeLike, Int

_ANYWHERE = pl.BlockSpec(memory_space=pl.ANY)


def launch(
    kernel: Callable,
    name: str,
    programs: int,
    shapes: list[tuple[int, ...]],
    warps: int,
    interpret: bool,
    *operands: Array,
    into: int | None = None,
    dtype: DTypeLike = jnp.float32,
) -> list[Array]:
    """Run a kernel and return its results.

    Args:
        kernel: takes the references of the operands, then those of the results.
        name: under which profilers show it.
        programs: how many run.
        shapes: of the results.
        warps: of one program.
        interpret: run without a GPU.
        operands: the inputs.
        into: number of an operand whose memory becomes the (first) result: what is not written keeps its values.
        dtype: of the results.
    """
    results = pl.pallas_call(
        kernel,
        name=name,
        grid=(programs,),
        in_specs=[_ANYWHERE] * len(operands),
        out_specs=[_ANYWHERE] * len(shapes),
        out_shape=[jax.core.ShapedArray(shape, dtype) for shape in shapes],
        compiler_params=plgpu.CompilerParams(num_warps=warps, num_stages=1),
        interpret=interpret,
        input_output_aliases={} if into is None else {into: 0},
    )(*operands)
    return list(results)


# ---- parts of kernels that take one row of some arrays a thread


def rows(block: int) -> Int[Array, "block"]:
    """Return the rows of this program."""
    return pl.program_id(0) * block + jnp.arange(block, dtype=jnp.int32)


def load_columns(ref: Any, row: Array) -> list[Array]:
    """Load the columns of some rows; those past the last one repeat it."""
    row = jnp.minimum(row, ref.shape[0] - 1)
    if len(ref.shape) == 1:
        return [plgpu.load(ref.at[row])]
    return [plgpu.load(ref.at[row, k]) for k in range(ref.shape[1])]


def store_columns(ref: Any, row: Array, values: list[Array]) -> None:
    """Store the columns of the rows that exist."""
    mask = row < ref.shape[0]
    for k, value in enumerate(values):
        plgpu.store(ref.at[row] if len(ref.shape) == 1 else ref.at[row, k], value, mask=mask)
