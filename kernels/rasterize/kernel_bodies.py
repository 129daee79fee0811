"""Kernel bodies of `rasterize`, for both backends (`gpu_backends`); every reference is the whole array."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jax.experimental.pallas import triton as plgpu

from kernels.bin_tiles.types import TileGrid
from kernels.common.constants import T_STOP
from kernels.common.pallas import program_rows
from kernels.rasterize.alpha_blending import adjoint_step, blend_step, splat_of, tangent_step
from kernels.rasterize.gpu_backends import Backend, anchor

Ref = Any  # a Pallas reference


def walk_segment(
    ids_ref: Ref, table_ref: Ref, begin: Array, end: Array, chunk: int, visit: Callable, state: tuple
) -> tuple[tuple, Array]:
    """Run state = visit(i, row, state) for i in [begin, end) until state[0], the transmittance, is at most T_STOP.

    The results are the last state and the position behind the last visited one.

    `row` is the row of the i-th Gaussian as scalars. It is loaded during the step before, and its index one step
    earlier: two dependent loads take longer than the arithmetic of a step.
    """
    last = jnp.maximum(end - 1, 0)

    def index(i: Array) -> Array:
        return ids_ref[jnp.minimum(i, last)]

    def one(i: Array, carry: tuple) -> tuple:
        following, row, state = carry
        return index(i + 2), _columns(table_ref, following), visit(i, row, state)

    def some(carry: tuple) -> tuple:
        position, *rest = carry
        stop = jnp.minimum(position + chunk, end)
        return position + chunk, *lax.fori_loop(position, stop, one, tuple(rest))

    def unfinished(carry: tuple) -> Array:
        return (carry[0] < end) & (jnp.max(carry[3][0]) > T_STOP)

    first = index(begin + 1), _columns(table_ref, index(begin)), state
    position, _, _, state = lax.while_loop(unfinished, some, (begin, *first))
    return state, jnp.minimum(position, end)


def clear(slots_ref: Ref, emission_ref: Ref, position: Array, end: Array) -> None:
    """Write 0 to the slots of the intersections in [position, end), which a walk skipped."""

    def one(i: Array, _: None) -> None:
        slot = emission_ref[i]
        for k in range(slots_ref.shape[1]):
            slots_ref[slot, k] = jnp.float32(0)

    lax.fori_loop(position, end, one, None)


def _columns(table_ref: Ref, row: Array) -> list[Array]:
    """Load a row of a table as scalars."""
    return [table_ref[row, k] for k in range(table_ref.shape[1])]


def forward_kernel(*refs: Ref, backend: Backend, grid: TileGrid, chunk: int) -> None:
    """Blend one segment from T = 1; store features and, last, the T behind it."""
    tile_ref, begin_ref, end_ref, ids_ref, table_ref, out_ref = refs
    segment = backend.program()
    px, py = backend.pixel_centers(tile_ref[segment], grid)
    channels, begin = out_ref.shape[1] - 1, begin_ref[segment]

    def visit(_: Array, row: list, state: tuple) -> tuple:
        T, *out = state
        T, out = blend_step(splat_of(row), px, py, T, tuple(out))
        return (T, *out)

    state = (jnp.ones_like(py), *[jnp.zeros_like(py)] * channels)
    (T, *out), _ = walk_segment(ids_ref, table_ref, begin, end_ref[segment], chunk, visit, state)
    for k, values in enumerate((*out, T)):
        backend.store(out_ref, segment, k, value=values, zero=anchor(begin))


def combine_kernel(of_tile_ref: Ref, part_ref: Ref, prefix_ref: Ref, total_ref: Ref, *, backend: Backend) -> None:
    """Blend the segments of a tile; store the prefix of each, and the total with its alpha."""
    tile = backend.program()
    channels, pixels = part_ref.shape[1] - 1, part_ref.shape[2]

    def add(i: Array, state: tuple) -> tuple:
        T, *out = state
        for k, values in enumerate((*out, T)):
            prefix_ref[i, k, :] = values
        return (T * part_ref[i, channels, :], *(o + T * part_ref[i, k, :] for k, o in enumerate(out)))

    state = (jnp.ones(pixels, jnp.float32), *[jnp.zeros(pixels, jnp.float32)] * channels)
    T, *out = lax.fori_loop(of_tile_ref[tile], of_tile_ref[tile + 1], add, state)
    for k, values in enumerate((*out, 1 - T)):
        total_ref[tile, k, :] = values


def tangent_kernel(*refs: Ref, backend: Backend, grid: TileGrid, chunk: int) -> None:
    """Blend one segment and its tangent from T = 1; store T, its tangent, features, their tangents."""
    tile_ref, begin_ref, end_ref, ids_ref, table_ref, table_dot_ref, out_ref = refs
    segment = backend.program()
    px, py = backend.pixel_centers(tile_ref[segment], grid)
    channels, begin = out_ref.shape[1] // 2 - 1, begin_ref[segment]

    def visit(i: Array, row: list, state: tuple) -> tuple:
        T, T_dot, *sums = state
        splat, direction = splat_of(row), splat_of(_columns(table_dot_ref, ids_ref[i]))
        _, out = blend_step(splat, px, py, T, tuple(sums[:channels]))
        T, T_dot, out_dot = tangent_step(splat, direction, px, py, T, T_dot, tuple(sums[channels:]))
        return (T, T_dot, *out, *out_dot)

    state = (jnp.ones_like(py), *[jnp.zeros_like(py)] * (2 * channels + 1))
    state, _ = walk_segment(ids_ref, table_ref, begin, end_ref[segment], chunk, visit, state)
    for k, values in enumerate(state):
        backend.store(out_ref, segment, k, value=values, zero=anchor(begin))


def combine_tangent_kernel(of_tile_ref: Ref, part_ref: Ref, total_ref: Ref, *, backend: Backend) -> None:
    """Blend the tangents of the segments of a tile."""
    tile = backend.program()
    channels, pixels = part_ref.shape[1] // 2 - 1, part_ref.shape[2]

    def add(i: Array, state: tuple) -> tuple:
        T, T_dot, *sums = state
        t, t_dot = part_ref[i, 0, :], part_ref[i, 1, :]
        sums = [
            total + T_dot * part_ref[i, 2 + k, :] + T * part_ref[i, 2 + channels + k, :] for k, total in enumerate(sums)
        ]
        return (T * t, T_dot * t + T * t_dot, *sums)

    state = (jnp.ones(pixels, jnp.float32), *[jnp.zeros(pixels, jnp.float32)] * (channels + 1))
    _, T_dot, *sums = lax.fori_loop(of_tile_ref[tile], of_tile_ref[tile + 1], add, state)
    for k, values in enumerate((*sums, -T_dot)):
        total_ref[tile, k, :] = values


def adjoint_kernel(*refs: Ref, backend: Backend, grid: TileGrid, chunk: int) -> None:
    """Store the sums over a tile from which the cotangents of every intersection of a segment follow."""
    tile_ref, begin_ref, end_ref, ids_ref, emission_ref, table_ref, prefix_ref, inputs_ref, _, slots_ref = refs
    segment = backend.program()
    tile_index, begin = tile_ref[segment], begin_ref[segment]
    px, py = backend.pixel_centers(tile_index, grid)
    load = functools.partial(backend.load, zero=anchor(begin))
    total, *v_out, v_alpha = [load(inputs_ref, tile_index, k) for k in range(inputs_ref.shape[1])]
    *front, T = [load(prefix_ref, segment, k) for k in range(prefix_ref.shape[1])]
    behind = total - (1 - T) * v_alpha
    for f, v in zip(front, v_out, strict=True):
        behind = behind - f * v

    def visit(i: Array, row: list, state: tuple) -> tuple:
        slot, (T, behind) = emission_ref[i], state
        T, behind, cotangents = adjoint_step(splat_of(row), px, py, T, behind, tuple(v_out), v_alpha)
        backend.write_totals(slots_ref, slot, [*backend.moments(cotangents), *(cotangents.weight * v for v in v_out)])
        return T, behind

    end = end_ref[segment]
    _, position = walk_segment(ids_ref, table_ref, begin, end, chunk, visit, (T, behind))
    if backend.is_output_uninitialized:
        clear(slots_ref, emission_ref, position, end)


def reduce_kernel(
    order_ref: Ref,
    first_ref: Ref,
    last_ref: Ref,
    slots_ref: Ref,
    sums_ref: Ref,
    *,
    block: int,
    columns: int,
    width: int,
) -> None:
    """Sum the slots of `block` Gaussians, one row of a vector each."""
    rank = program_rows(block)
    first, last = plgpu.load(first_ref.at[rank]), plgpu.load(last_ref.at[rank])
    column = jnp.arange(width, dtype=jnp.int32)[None, :]
    inside = column < columns

    def add(k: Array, sums: Array) -> Array:
        row = jnp.minimum(first + k, slots_ref.shape[0] - 1)
        mask = (first + k < last)[:, None] & inside
        return sums + plgpu.load(slots_ref.at[row[:, None], column], mask=mask, other=0.0)

    sums = lax.fori_loop(0, jnp.max(last - first), add, jnp.zeros((block, width), jnp.float32))
    splat = plgpu.load(order_ref.at[rank])[:, None]
    plgpu.store(sums_ref.at[splat, column], sums, mask=jnp.broadcast_to(inside, sums.shape))


def reduce_one_by_one_kernel(
    order_ref: Ref, first_ref: Ref, last_ref: Ref, slots_ref: Ref, sums_ref: Ref, *, backend: Backend, block: int
) -> None:
    """Sum the slots of `block` Gaussians, one number after the other."""
    columns, count = slots_ref.shape[1], order_ref.shape[0]

    def gaussian(rank: Array, _: None) -> None:
        def add(i: Array, sums: tuple) -> tuple:
            return tuple(s + slots_ref[i, k] for k, s in enumerate(sums))

        sums = lax.fori_loop(first_ref[rank], last_ref[rank], add, (jnp.float32(0),) * columns)
        splat = order_ref[rank]
        for k, value in enumerate(sums):
            sums_ref[splat, k] = value

    start = backend.program() * block
    lax.fori_loop(start, jnp.minimum(start + block, count), gaussian, None)
