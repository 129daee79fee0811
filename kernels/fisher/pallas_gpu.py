"""Fisher sums and EIG map as Pallas kernels (Triton backend).

One program walks one segment of a tile list with all pixels of the tile in registers. It starts from the
prefix (accumulated colour and transmittance) that the segmented forward pass of `rasterize` leaves. The map
adds up the segments of a tile. The sums write the partial sums of each intersection to a slot of its own, in
emission order, and add up the slots of a Gaussian, which are contiguous: no atomics, hence bitwise reproducible.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import ArrayLike, Float, Int

from kernels.bin_tiles import Bins, tile_grid
from kernels.fisher.config import DEFAULT, FisherConfig
from kernels.fisher.forms import from_moments
from kernels.fisher.gain import information_gain
from kernels.fisher.walk import (
    SUMS,
    Front,
    add_gain,
    eig_records,
    fisher_parts,
    splat_records,
    visit,
    whitener_of,
)
from kernels.rasterize.blend import T_STOP
from kernels.rasterize.config import heuristic
from kernels.rasterize.pallas_gpu import Kernels
from kernels.rasterize.segments import Segments, cut, segment_count
from kernels.rasterize.walk import from_tiles, to_tiles

ANYWHERE = pl.BlockSpec(memory_space=pl.ANY)
Ref = Any  # a Pallas reference


def accumulate(
    mean2d: Float[Array, "N 2"],
    conic: Float[Array, "N 3"],
    opacity: Float[Array, "N"],
    color: Float[Array, "N 3"],
    bins: Bins,
    image: Float[Array, "H W 3"],
    weight: Float[Array, "H W"],
    jacobian: Float[Array, "N 6 p"] | None,
    *,
    tile: int,
    interpret: bool | None = None,
    config: FisherConfig = DEFAULT,
) -> tuple[Float[Array, "N packed"], Float[Array, "N"]]:
    """See `kernels.fisher.accumulate`; `interpret` None means wherever there is no GPU."""
    (height, width), interpret = weight.shape, _interpret(interpret)
    records = splat_records(mean2d, conic, opacity, color)
    jacobian = None if jacobian is None else jnp.where(opacity[:, None, None] > 0, jacobian, 0.0)
    segments, prefix = _prefixes(records, bins, width, height, tile, interpret)
    pixels = to_tiles(jnp.concatenate([image, weight[..., None]], -1), tile)
    slots = jnp.zeros((bins.ids.shape[0], SUMS), jnp.float32)
    operands = (*segments[:3], bins.ids, bins.emission, records, prefix, pixels, slots)
    slots = _call(
        functools.partial(_accumulate_kernel, width=width, tile=tile, chunk=config.chunk),
        "fisher_accumulate",
        segments.tile.shape[0],
        slots.shape,
        config.accumulate_warps,
        interpret,
        *operands,
        input_output_aliases={len(operands) - 1: 0},
    )
    sums = _sum_slots(slots, bins, config.reduce_block, interpret)
    return from_moments(sums[:, :15], whitener_of(records), jacobian), sums[:, 15]


def eig_map(
    mean2d: Float[Array, "N 2"],
    conic: Float[Array, "N 3"],
    opacity: Float[Array, "N"],
    color: Float[Array, "N 3"],
    bins: Bins,
    image: Float[Array, "H W 3"],
    alpha: Float[Array, "H W"],
    factor: Float[Array, "N 6 r"],
    q: Float[Array, "N"],
    noise_var: Float[ArrayLike, ""],
    background_var: Float[ArrayLike, "*map"],
    *,
    mode: str,
    tile: int,
    interpret: bool | None = None,
    config: FisherConfig = DEFAULT,
) -> Float[Array, "H W"]:
    """See `kernels.fisher.eig_map`; `interpret` None means wherever there is no GPU."""
    (height, width), interpret = alpha.shape, _interpret(interpret)
    splats = splat_records(mean2d, conic, opacity, color)
    segments, prefix = _prefixes(splats, bins, width, height, tile, interpret)
    parts = _call(
        functools.partial(_map_kernel, width=width, tile=tile, chunk=config.chunk),
        "fisher_eig_map",
        segments.tile.shape[0],
        (segments.tile.shape[0], 6, tile * tile),
        config.map_warps,
        interpret,
        *segments[:3],
        bins.ids,
        eig_records(splats, factor, q),
        prefix,
        to_tiles(image, tile),
    )
    tiles = bins.tile_starts.shape[0] - 1
    shape = (tiles, *parts.shape[1:])
    M = _call(_sum_kernel, "fisher_sum_segments", tiles, shape, config.sum_warps, interpret, segments.of_tile, parts)
    return information_gain(from_tiles(M, width, height, tile), alpha, noise_var, background_var, mode)


def _interpret(interpret: bool | None) -> bool:
    """Return whether kernels run without a GPU."""
    return jax.default_backend() != "gpu" if interpret is None else interpret


def _prefixes(
    records: Float[Array, "N numbers"], bins: Bins, width: int, height: int, tile: int, interpret: bool
) -> tuple[Segments, Float[Array, "S 4 P"]]:
    """Return the segments of the lists, and colour (rgb) and T in front of each."""
    _, prefix = Kernels(interpret).forward(records[:, :9], bins, width=width, height=height, tile=tile)
    capacity, tiles = bins.ids.shape[0], bins.tile_starts.shape[0] - 1
    length = heuristic(capacity, tiles).segment
    return cut(bins.tile_starts, segment_count(capacity, tiles, length), length), prefix


def _sum_slots(slots: Float[Array, "capacity F"], bins: Bins, block: int, interpret: bool) -> Float[Array, "N F"]:
    """Add up the slots of every Gaussian in emission order."""
    N, F = bins.order.shape[0], slots.shape[1]
    padding = (0, -N % block)
    sums = _call(
        functools.partial(_reduce_kernel, block=block),
        "fisher_sum_slots",
        (N + padding[1]) // block,
        (N + padding[1], F),
        1,
        interpret,
        jnp.pad(bins.first, padding),
        jnp.pad(bins.last, padding),
        slots,
        out_specs=pl.BlockSpec((block, F), lambda i: (i, 0)),
    )
    return jnp.zeros((N, F), slots.dtype).at[bins.order].set(sums[:N], unique_indices=True)


def _call(
    kernel: Callable,
    name: str,
    programs: int,
    shape: tuple[int, ...],
    warps: int,
    interpret: bool,
    *operands: Array,
    **options: Any,
) -> Array:
    """Run a kernel whose operands and (unless `out_specs` says otherwise) result it indexes itself."""
    return pl.pallas_call(
        kernel,
        name=name,
        grid=(programs,),
        in_specs=[ANYWHERE] * len(operands),
        out_specs=options.pop("out_specs", ANYWHERE),
        out_shape=jax.ShapeDtypeStruct(shape, jnp.float32),
        compiler_params=plgpu.CompilerParams(num_warps=warps, num_stages=1),
        interpret=interpret,
        **options,
    )(*operands)


# ---- kernel bodies: every reference is the whole array


def _centres(index: Int[Array, ""], width: int, tile: int) -> tuple[Float[Array, "P"], Float[Array, "P"]]:
    """Return the pixel centres of a tile, row by row."""
    columns, p = tile_grid(width, 1, tile)[0], jnp.arange(tile * tile, dtype=jnp.int32)
    x, y = index % columns * tile + p % tile, index // columns * tile + p // tile
    return x.astype(jnp.float32) + 0.5, y.astype(jnp.float32) + 0.5


def _front(prefix_ref: Ref, pixels_ref: Ref, segment: Array, tile_index: Array) -> Front:
    """Return what the pixels of a tile remember in front of a segment."""
    behind = [pixels_ref[tile_index, k, :] - prefix_ref[segment, k, :] for k in range(3)]
    return Front(prefix_ref[segment, 3, :], *behind)


def _walk(begin: Array, end: Array, chunk: int, step: Callable, front: Front, state: tuple) -> tuple:
    """Run front, state = step(i, front, state) for i in [begin, end) until no light is left."""

    def some(carry: tuple) -> tuple:
        position, *rest = carry
        stop = jnp.minimum(position + chunk, end)
        return position + chunk, *lax.fori_loop(position, stop, lambda i, c: step(i, *c), tuple(rest))

    def unfinished(carry: tuple) -> Array:
        return (carry[0] < end) & (jnp.max(carry[1].T) > T_STOP)

    return lax.while_loop(unfinished, some, (begin, front, state))[2]


def _record(records_ref: Ref, row: Array) -> list[Array]:
    """Load a row as scalars."""
    return [records_ref[row, k] for k in range(records_ref.shape[1])]


def _accumulate_kernel(
    tile_ref: Ref,
    begin_ref: Ref,
    end_ref: Ref,
    ids_ref: Ref,
    emission_ref: Ref,
    records_ref: Ref,
    prefix_ref: Ref,
    pixels_ref: Ref,
    _: Ref,
    slots_ref: Ref,
    *,
    width: int,
    tile: int,
    chunk: int,
) -> None:
    segment = pl.program_id(0)
    index = tile_ref[segment]
    px, py = _centres(index, width, tile)
    weight = pixels_ref[index, 3, :]

    def step(i: Array, front: Front, state: tuple) -> tuple[Front, tuple]:
        record, slot = _record(records_ref, ids_ref[i]), emission_ref[i]
        pair, front = visit(record, px, py, front)
        for k, part in enumerate(fisher_parts(pair, weight)):
            slots_ref[slot, k] = jnp.sum(part)
        return front, state

    front = _front(prefix_ref, pixels_ref, segment, index)
    _walk(begin_ref[segment], end_ref[segment], chunk, step, front, ())


def _map_kernel(
    tile_ref: Ref,
    begin_ref: Ref,
    end_ref: Ref,
    ids_ref: Ref,
    records_ref: Ref,
    prefix_ref: Ref,
    pixels_ref: Ref,
    parts_ref: Ref,
    *,
    width: int,
    tile: int,
    chunk: int,
) -> None:
    segment = pl.program_id(0)
    index = tile_ref[segment]
    px, py = _centres(index, width, tile)

    def step(i: Array, front: Front, M: tuple) -> tuple[Front, tuple]:
        record = _record(records_ref, ids_ref[i])
        pair, front = visit(record, px, py, front)
        return front, tuple(add_gain(record, pair, list(M)))

    front, zero = _front(prefix_ref, pixels_ref, segment, index), jnp.zeros_like(px)
    M = _walk(begin_ref[segment], end_ref[segment], chunk, step, front, (zero,) * 6)
    for k, values in enumerate(M):
        parts_ref[segment, k, :] = values


def _sum_kernel(of_tile_ref: Ref, parts_ref: Ref, sums_ref: Ref) -> None:
    tile = pl.program_id(0)

    def add(i: Array, sums: tuple) -> tuple:
        return tuple(total + parts_ref[i, k, :] for k, total in enumerate(sums))

    zero = jnp.zeros(parts_ref.shape[2], jnp.float32)
    sums = lax.fori_loop(of_tile_ref[tile], of_tile_ref[tile + 1], add, (zero,) * parts_ref.shape[1])
    for k, values in enumerate(sums):
        sums_ref[tile, k, :] = values


def _reduce_kernel(first_ref: Ref, last_ref: Ref, slots_ref: Ref, sums_ref: Ref, *, block: int) -> None:
    splat = pl.program_id(0) * block + jnp.arange(block, dtype=jnp.int32)
    first, last = first_ref[splat], last_ref[splat]
    column = jnp.arange(slots_ref.shape[1], dtype=jnp.int32)

    def add(k: Array, sums: Array) -> Array:
        row = jnp.minimum(first + k, slots_ref.shape[0] - 1)[:, None]
        mask = (first + k < last)[:, None] & (column >= 0)[None, :]
        return sums + plgpu.load(slots_ref.at[row, column[None, :]], mask=mask, other=0.0)

    sums_ref[:, :] = lax.fori_loop(0, jnp.max(last - first), add, jnp.zeros((block, slots_ref.shape[1]), jnp.float32))
