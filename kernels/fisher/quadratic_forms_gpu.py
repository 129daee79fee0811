"""What a view knows of a Gaussian's geometry, per Gaussian, as Pallas kernels (Triton backend).

One Gaussian a thread differentiates its footprint and brings the derivatives to the whitened frame. `_quartic_kernel`
turns them into a quartic where they stand; `_half_kernel` stores them, one row of memory per number so that neighbours
lie side by side, and `_precision_kernel` adds what follows from these rows to a precision. These two take the Gaussians
front to back, so that those that the view does not show, mostly many, come last and cost nothing. What runs over the
ten parameters is a loop, not ten copies: the compiler's time grows with the square of the number of operations.
"""

import functools
from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import ArrayLike, Float

from kernels.bin_tiles import Bins
from kernels.common.pallas import launch, load_columns, rows, store_columns
from kernels.fisher.footprint_jacobian import FOOTPRINT, GEOMETRY, Geometry, footprint_columns
from kernels.fisher.quadratic_forms import POWERS, PRODUCT, in_basis, whitening_columns
from kernels.project.pallas_gpu import CAMERA, camera_numbers
from kernels.project.reference import Lens, Options

BLOCK, WARPS = 64, 2  # Gaussians a program
HALF = FOOTPRINT * GEOMETRY  # rows: six numbers per parameter
_ROW = 16  # GEOMETRY numbers, rounded up to a power of 2


def quartic(geometry: Geometry, factor: Float[Array, "N 10 10"], interpret: bool) -> Float[Array, "N 15"]:
    """Return `forms.quartic_of` the Jacobian times an upper triangular factor."""
    count = geometry.means.shape[0]
    kernel = functools.partial(_quartic_kernel, options=geometry.options)
    operands = *_operands(geometry), factor.reshape(count, -1)
    shape = count, len(POWERS)
    (out,) = launch(kernel, "fisher_quartic", pl.cdiv(count, BLOCK), [shape], WARPS, interpret, *operands)
    return out


def add_precision(
    onto: Float[Array, "N 55"],
    sign: Float[ArrayLike, ""],
    geometry: Geometry,
    sums: Float[Array, "N sums"],
    bins: Bins,
    interpret: bool,
) -> Float[Array, "N 55"]:
    """Return onto + sign * `forms.from_moments` of the Jacobian: the packed information on the geometry.

    Args:
        onto: what is known already.
        sign: of what is added.
        geometry: of the Gaussians.
        sums: moments, and perhaps more columns behind them; 0 for Gaussians that are in no list.
        bins: the lists.
        interpret: run without a GPU.
    """
    count = geometry.means.shape[0]
    ranks = jnp.arange(1, count + 1, dtype=jnp.int32)
    listed = jnp.max(jnp.where(bins.last > bins.first, ranks, 0))[None]  # what comes behind is in no list
    half_kernel = functools.partial(_half_kernel, options=geometry.options)
    programs = pl.cdiv(count, BLOCK)
    operands = *_operands(geometry), bins.order, listed
    (half,) = launch(half_kernel, "fisher_jacobian", programs, [(HALF, count)], WARPS, interpret, *operands)
    operands = half, sums, bins.order, listed, jnp.asarray(sign, jnp.float32)[None], onto
    shapes, place = [onto.shape], len(operands) - 1
    (out,) = launch(_precision_kernel, "fisher_precision", programs, shapes, WARPS, interpret, *operands, into=place)
    return out


def _operands(geometry: Geometry) -> tuple[Array, ...]:
    """Return what `_derivatives` reads: the parameters of the Gaussians and the numbers of the camera."""
    return *geometry[:4], camera_numbers(geometry.camera_from_world, geometry.K)


# ---- kernel bodies: every reference is the whole array


def _derivatives(refs: tuple, row: Array, options: Options) -> tuple[list[Array], Array]:
    """Return the derivatives in the whitened frame, parameter by parameter, and which Gaussians show."""
    means, quats, scales, (opacity,) = (load_columns(ref, row) for ref in refs[:4])
    numbers = [refs[4][k] for k in range(CAMERA)]
    camera = [numbers[4 * i : 4 * i + 4] for i in range(3)]
    lens = Lens(camera, *numbers[12:])
    (visible, conic), L = footprint_columns(means, quats, scales, opacity, camera, lens, options)
    whitener = whitening_columns(*[jnp.where(visible, v, 0.0) for v in conic])
    return [value for derivatives in L for value in in_basis(derivatives, whitener)], visible


def _ranked(order_ref: Any, listed_ref: Any) -> tuple[Array, Array, Array]:
    """Return the ranks of a program front to back, which of them are listed, and their Gaussians."""
    rank = rows(BLOCK)
    listed = rank < listed_ref[0]
    # Interpreted, what is masked is written back as it was: past the last row, where no listed one can be meant.
    return rank, listed, plgpu.load(order_ref.at[rank], mask=listed, other=order_ref.shape[0])


def _half_kernel(*refs: Any, options: Options) -> None:
    order_ref, listed_ref, out_ref = refs[5:]
    rank, listed, index = _ranked(order_ref, listed_ref)

    @pl.when(pl.program_id(0) * BLOCK < listed_ref[0])  # the listed come first
    def _() -> None:
        values, _ = _derivatives(refs, index, options)
        for k, value in enumerate(values):
            plgpu.store(out_ref.at[k, rank], value, mask=listed)


def _quartic_kernel(*refs: Any, options: Options) -> None:
    row, factor_ref, out_ref = rows(BLOCK), refs[5], refs[6]
    values, visible = _derivatives(refs, row, options)
    shown, safe = visible & (row < out_ref.shape[0]), jnp.minimum(row, out_ref.shape[0] - 1)
    half = [jnp.where(shown, value, 0.0) for value in values]  # of one that does not show they may be anything

    def add(r: Array, coefficients: tuple) -> tuple:
        spread = [jnp.zeros_like(half[0])] * FOOTPRINT
        for i in range(GEOMETRY):  # upper triangular
            entry = plgpu.load(factor_ref.at[safe, GEOMETRY * i + r], mask=shown & (i <= r), other=0.0)
            spread = [s + half[FOOTPRINT * i + k] * entry for k, s in enumerate(spread)]
        coefficients = list(coefficients)
        for i in range(FOOTPRINT):
            for j in range(i, FOOTPRINT):
                coefficients[PRODUCT[i, j]] += (1 if i == j else 2) * spread[i] * spread[j]
        return tuple(coefficients)

    coefficients = lax.fori_loop(0, GEOMETRY, add, (jnp.zeros_like(half[0]),) * len(POWERS))
    store_columns(out_ref, row, list(coefficients))


def _precision_kernel(
    half_ref: Any, sums_ref: Any, order_ref: Any, listed_ref: Any, sign_ref: Any, onto_ref: Any, out_ref: Any
) -> None:
    rank, listed, index = _ranked(order_ref, listed_ref)

    @pl.when(pl.program_id(0) * BLOCK < listed_ref[0])  # the listed come first
    def _() -> None:
        load = lambda ref, *place: plgpu.load(ref.at[place], mask=listed, other=0.0)
        sums = [sign_ref[0] * load(sums_ref, index, k) for k in range(len(POWERS))]
        half = [load(half_ref, k, rank) for k in range(HALF)]
        column = jnp.arange(_ROW, dtype=jnp.int32)[None, :]

        def write(p: Array, start: Array) -> Array:
            own = [load(half_ref, FOOTPRINT * p + i, rank) for i in range(FOOTPRINT)]
            seen = [sum(own[i] * sums[PRODUCT[i, j]] for i in range(FOOTPRINT)) for j in range(FOOTPRINT)]
            row = [sum(s * half[FOOTPRINT * q + j] for j, s in enumerate(seen)) for q in range(GEOMETRY)]
            place, mask = (index[:, None], start + column), listed[:, None] & (p <= column) & (column < GEOMETRY)
            before = plgpu.load(onto_ref.at[place], mask=mask, other=0.0)
            plgpu.store(out_ref.at[place], before + _side_by_side(row), mask=mask)
            return start + GEOMETRY - p - 1  # where column 0 of the next row of the triangle would stand

        lax.fori_loop(0, GEOMETRY, write, jnp.int32(0))


def _side_by_side(columns: list[Array]) -> Array:
    """Return columns as one array (rows, _ROW), padded by 0: what is stored from it lies side by side in memory.

    Stored one by one, every number of every Gaussian would be an access to memory of its own.
    """
    parts = [*columns, *[jnp.zeros_like(columns[0])] * (_ROW - len(columns))]
    while len(parts) > 1:
        half = len(parts) // 2
        parts = [jnp.stack([low, high], -1) for low, high in zip(parts[:half], parts[half:], strict=True)]
    return parts[0].reshape(-1, _ROW)
