"""Quartics and information on the geometry, per Gaussian, as Pallas kernels (Triton backend).

Each thread differentiates the footprint of one Gaussian and transforms the derivatives to the whitened frame.
`_quartic_kernel` computes a quartic from them in registers. `_jacobian_kernel` stores them, one row of memory per
number so that neighbors are adjacent, and `_precision_kernel` adds the resulting information to a precision. These two
process the Gaussians front to back, so that those that are in no list, usually many, come last and cost nothing. Loops
run over the ten parameters, without unrolling: compile time grows with the square of the number of operations.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import ArrayLike, Float

from kernels.bin_tiles.types import Bins
from kernels.common.pallas import Launch, launch, load_columns, program_rows, store_columns
from kernels.fisher.footprint_jacobian import NUM_FOOTPRINT, NUM_GEOMETRY, footprint_columns
from kernels.fisher.quadratic_forms import POWERS, PRODUCT, to_basis, whitening_columns
from kernels.fisher.types import ViewGeometry
from kernels.project.pallas_gpu import NUM_CAMERA, camera_numbers
from kernels.project.types import Lens, ProjectionOptions

BLOCK, WARPS = 64, 2  # Gaussians and warps of a program
NUM_JACOBIAN = NUM_FOOTPRINT * NUM_GEOMETRY  # rows: six numbers per parameter
_ROW = 16  # NUM_GEOMETRY numbers, rounded up to a power of 2


def quartic_coefficients(
    geometry: ViewGeometry, factor: Float[Array, "N 10 10"], interpret: bool
) -> Float[Array, "N 15"]:
    """Compute `quadratic_forms.quartic_coefficients` of the Jacobian times an upper triangular factor."""
    count = factor.shape[0]
    kernel = functools.partial(_quartic_kernel, options=geometry.options)
    how = Launch("fisher_quartic", pl.cdiv(count, BLOCK), WARPS)
    operands = *_operands(geometry), factor.reshape(count, -1)
    (out,) = launch(kernel, how, [(count, len(POWERS))], *operands, interpret=interpret)
    return out


def add_precision(
    total: Float[Array, "N 55"],
    sign: Float[ArrayLike, ""],
    geometry: ViewGeometry,
    sums: Float[Array, "N sums"],
    bins: Bins,
    interpret: bool,
) -> Float[Array, "N 55"]:
    """Add sign * `quadratic_forms.from_moments` of the Jacobian, the packed information on the geometry, to `total`.

    Args:
        total: precision before.
        sign: of the added information.
        geometry: of the Gaussians.
        sums: moments, optionally followed by other columns; 0 for Gaussians that are in no list.
        bins: the lists.
        interpret: run without a GPU.
    """
    count = total.shape[0]
    ranks = jnp.arange(1, count + 1, dtype=jnp.int32)
    num_listed = jnp.max(jnp.where(bins.last > bins.first, ranks, 0))[None]  # Gaussians behind them are in no list
    programs = pl.cdiv(count, BLOCK)
    kernel = functools.partial(_jacobian_kernel, options=geometry.options)
    operands = *_operands(geometry), bins.order, num_listed
    how = Launch("fisher_jacobian", programs, WARPS)
    (jacobian,) = launch(kernel, how, [(NUM_JACOBIAN, count)], *operands, interpret=interpret)
    operands = jacobian, sums, bins.order, num_listed, jnp.asarray(sign, jnp.float32)[None], total
    how = Launch("fisher_precision", programs, WARPS)
    last = len(operands) - 1
    (out,) = launch(_precision_kernel, how, [total.shape], *operands, interpret=interpret, aliased_operand=last)
    return out


def _operands(geometry: ViewGeometry) -> tuple[Array, ...]:
    """List the operands of `_derivatives`: the parameters of the Gaussians and the numbers of the camera."""
    return *geometry.gaussians[:4], camera_numbers(geometry.camera)


# ---- kernel bodies: every reference is the whole array


def _derivatives(refs: tuple, row: Array, options: ProjectionOptions) -> tuple[list[Array], Array]:
    """Compute the derivatives in the whitened frame, parameter by parameter, and which Gaussians are visible."""
    means, quats, scales, (opacity,) = (load_columns(ref, row) for ref in refs[:4])
    numbers = [refs[4][k] for k in range(NUM_CAMERA)]
    camera = [numbers[4 * i : 4 * i + 4] for i in range(3)]
    fx, fy, skew, cx, cy = numbers[12:]
    lens = Lens(camera, fx, fy, skew, cx, cy)
    (visible, conic), L = footprint_columns(means, quats, scales, opacity, camera, lens, options)
    a, b, c = (jnp.where(visible, v, 0.0) for v in conic)
    whitener = whitening_columns(a, b, c)
    return [value for derivatives in L for value in to_basis(derivatives, whitener)], visible


def _load_order(order_ref: Any, num_listed_ref: Any) -> tuple[Array, Array, Array]:
    """Load the ranks of a program front to back, which of them are listed, and their Gaussians."""
    rank = program_rows(BLOCK)
    is_listed = rank < num_listed_ref[0]
    # The interpreter also writes back masked rows: they point past the last row, which no listed Gaussian has.
    return rank, is_listed, plgpu.load(order_ref.at[rank], mask=is_listed, other=order_ref.shape[0])


def _jacobian_kernel(*refs: Any, options: ProjectionOptions) -> None:
    order_ref, num_listed_ref, out_ref = refs[5:]
    rank, is_listed, index = _load_order(order_ref, num_listed_ref)

    @pl.when(pl.program_id(0) * BLOCK < num_listed_ref[0])  # listed Gaussians come first
    def _() -> None:
        values, _ = _derivatives(refs, index, options)
        for k, value in enumerate(values):
            plgpu.store(out_ref.at[k, rank], value, mask=is_listed)


def _quartic_kernel(*refs: Any, options: ProjectionOptions) -> None:
    row, factor_ref, out_ref = program_rows(BLOCK), refs[5], refs[6]
    values, visible = _derivatives(refs, row, options)
    is_used, safe = visible & (row < out_ref.shape[0]), jnp.minimum(row, out_ref.shape[0] - 1)
    jacobian = [jnp.where(is_used, value, 0.0) for value in values]  # those of culled Gaussians may be NaN

    def add(r: Array, coefficients: tuple) -> tuple:
        spread = [jnp.zeros_like(jacobian[0])] * NUM_FOOTPRINT
        for i in range(NUM_GEOMETRY):  # upper triangular
            entry = plgpu.load(factor_ref.at[safe, NUM_GEOMETRY * i + r], mask=is_used & (i <= r), other=0.0)
            spread = [s + jacobian[NUM_FOOTPRINT * i + k] * entry for k, s in enumerate(spread)]
        sums = list(coefficients)
        for i in range(NUM_FOOTPRINT):
            for j in range(i, NUM_FOOTPRINT):
                sums[PRODUCT[i, j]] += (1 if i == j else 2) * spread[i] * spread[j]
        return tuple(sums)

    coefficients = lax.fori_loop(0, NUM_GEOMETRY, add, (jnp.zeros_like(jacobian[0]),) * len(POWERS))
    store_columns(out_ref, row, list(coefficients))


def _precision_kernel(*refs: Any) -> None:
    jacobian_ref, sums_ref, order_ref, num_listed_ref, sign_ref, total_ref, out_ref = refs
    rank, is_listed, index = _load_order(order_ref, num_listed_ref)

    def load(ref: Any, *place: Any) -> Array:
        return plgpu.load(ref.at[place], mask=is_listed, other=0.0)

    @pl.when(pl.program_id(0) * BLOCK < num_listed_ref[0])  # listed Gaussians come first
    def _() -> None:
        sums = [sign_ref[0] * load(sums_ref, index, k) for k in range(len(POWERS))]
        jacobian = [load(jacobian_ref, k, rank) for k in range(NUM_JACOBIAN)]
        column = jnp.arange(_ROW, dtype=jnp.int32)[None, :]

        def write(p: Array, start: Array) -> Array:
            own = [load(jacobian_ref, NUM_FOOTPRINT * p + i, rank) for i in range(NUM_FOOTPRINT)]
            product = [sum(own[i] * sums[PRODUCT[i, j]] for i in range(NUM_FOOTPRINT)) for j in range(NUM_FOOTPRINT)]
            row = [sum(s * jacobian[NUM_FOOTPRINT * q + j] for j, s in enumerate(product)) for q in range(NUM_GEOMETRY)]
            place = index[:, None], start + column
            mask = is_listed[:, None] & (p <= column) & (column < NUM_GEOMETRY)
            before = plgpu.load(total_ref.at[place], mask=mask, other=0.0)
            plgpu.store(out_ref.at[place], before + _side_by_side(row), mask=mask)
            return start + NUM_GEOMETRY - p - 1  # position of column 0 in the next row of the triangle

        lax.fori_loop(0, NUM_GEOMETRY, write, jnp.int32(0))


def _side_by_side(columns: Sequence[ArrayLike]) -> Array:
    """Stack columns to one array (rows, _ROW), padded with 0, so that its numbers are stored side by side.

    Stored column by column, every number of every Gaussian would be a memory access of its own.
    """
    parts: list = [*columns, *[jnp.zeros_like(columns[0])] * (_ROW - len(columns))]
    while len(parts) > 1:
        half = len(parts) // 2
        parts = [jnp.stack([low, high], -1) for low, high in zip(parts[:half], parts[half:], strict=True)]
    return parts[0].reshape(-1, _ROW)
