"""Rasterize, its tangent and its adjoint as Pallas kernels, for both backends (`pixels`).

One program walks one segment of a tile list with all pixels of the tile in registers. Segments are blended
from T = 1 on their own and combined front to back afterwards (blending is associative). The adjoint starts
every segment from the saved prefix, writes the partial sums of each intersection to a slot of its own, in
emission order, and adds up the slots of a Gaussian, which are contiguous: no atomics, hence bitwise
reproducible.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Float

from kernels.bin_tiles.types import Bins, tile_grid
from kernels.launch import launch, rows
from kernels.rasterize.blend import (
    GEOMETRY,
    T_STOP,
    adjoint_step,
    blend_step,
    from_moments,
    splat_of,
    tangent_step,
)
from kernels.rasterize.config import RasterConfig, choose_config
from kernels.rasterize.pixels import Backend, Mosaic, anchor, total
from kernels.rasterize.segments import Segments, cut, segment_count
from kernels.rasterize.walk import from_tiles, to_tiles

Ref = Any  # a Pallas reference
GAUSSIANS = 16  # a program of `_sum_slots_one_by_one`


@dataclass(frozen=True)
class Kernels:
    """The walks of `kernels.rasterize.xla` as kernels.

    Attributes:
        on: the backend.
        config: block sizes; None takes the best known.
    """

    on: Backend
    config: RasterConfig | None = None

    def saved_shape(self, capacity: int, channels: int, width: int, height: int, tile: int) -> tuple[int, ...]:
        """Return the shape of the prefixes that `forward` saves: sums and T in front of every segment."""
        columns, rows = tile_grid(width, height, tile)
        length = (self.config or choose_config(capacity, rows * columns)).segment
        return segment_count(capacity, rows * columns, length), channels, tile * tile

    def cut(self, bins: Bins) -> tuple[RasterConfig, Segments]:
        """Return the block sizes and the segments of the lists."""
        capacity, tiles = bins.ids.shape[0], bins.tile_starts.shape[0] - 1
        config = self.config or choose_config(capacity, tiles)
        return config, cut(bins.tile_starts, segment_count(capacity, tiles, config.segment), config.segment)

    def forward(
        self, table: Float[Array, "N F"], bins: Bins, *, width: int, height: int, tile: int
    ) -> tuple[Float[Array, "H W C_and_alpha"], Float[Array, "S C_and_T P"]]:
        """Return the features with, last, the accumulated alpha; and the prefix of every segment."""
        config, segments = self.cut(bins)
        channels, tiles = table.shape[1] - GEOMETRY + 1, bins.tile_starts.shape[0] - 1
        shape = (segments.tile.shape[0], channels, tile * tile)
        blocks = (*shape[:2], *self.on.shape_of(tile))
        kernel = functools.partial(_forward_kernel, on=self.on, width=width, tile=tile, chunk=config.chunk)
        operands = (*segments[:3], bins.ids, table)
        (partial,) = self.on.start(kernel, "rasterize_forward", shape[0], [blocks], config.warps, *operands)
        prefix, total = self.on.start(
            functools.partial(_combine_kernel, on=self.on),
            "rasterize_combine",
            tiles,
            [shape, (tiles, channels, tile * tile)],
            config.combine_warps,
            segments.of_tile,
            partial.reshape(shape),
        )
        return from_tiles(total, width, height, tile), prefix

    def tangent(
        self,
        table: Float[Array, "N F"],
        saved: Float[Array, "S C_and_T P"],
        table_dot: Float[Array, "N F"],
        bins: Bins,
        *,
        width: int,
        height: int,
        tile: int,
    ) -> Float[Array, "H W C_and_alpha"]:
        """Return the tangent of the image for the tangent `table_dot` (log opacity in column 5)."""
        config, segments = self.cut(bins)
        channels, tiles = saved.shape[1], bins.tile_starts.shape[0] - 1
        kernel = functools.partial(_tangent_kernel, on=self.on, width=width, tile=tile, chunk=config.chunk)
        shape = (segments.tile.shape[0], 2 * channels, *self.on.shape_of(tile))
        operands = (*segments[:3], bins.ids, table, table_dot)
        (partial,) = self.on.start(kernel, "rasterize_tangent", shape[0], [shape], config.warps, *operands)
        (total,) = self.on.start(
            functools.partial(_combine_tangent_kernel, on=self.on),
            "rasterize_combine_tangent",
            tiles,
            [(tiles, channels, tile * tile)],
            config.combine_warps,
            segments.of_tile,
            partial.reshape(*shape[:2], -1),
        )
        return from_tiles(total, width, height, tile)

    def adjoint(
        self,
        table: Float[Array, "N F"],
        image: Float[Array, "H W C_and_alpha"],
        saved: Float[Array, "S C_and_T P"],
        v: Float[Array, "H W C_and_alpha"],
        bins: Bins,
        *,
        width: int,
        height: int,
        tile: int,
    ) -> Float[Array, "N F"]:
        """Return the cotangent of the table (log opacity in column 5) for the cotangent `v` of the image."""
        config, segments = self.cut(bins)
        total = jnp.sum(image * v, -1, keepdims=True)
        inputs = to_tiles(jnp.concatenate([total, v], -1), tile)
        inputs, saved = (x.reshape(*x.shape[:2], *self.on.shape_of(tile)) for x in (inputs, saved))
        slots = jnp.zeros((bins.ids.shape[0], table.shape[1]), jnp.float32)
        kernel = functools.partial(_adjoint_kernel, on=self.on, width=width, tile=tile, chunk=config.chunk)
        operands = (*segments[:3], bins.ids, bins.emission, table, saved, inputs, slots)
        count = segments.tile.shape[0]
        (slots,) = self.on.start(kernel, "rasterize_adjoint", count, [slots.shape], config.warps, *operands, into=True)
        return from_moments(self.sum_slots(slots, bins, config.reduce_block), table[:, 2:5])

    def sum_slots(self, slots: Float[Array, "capacity F"], bins: Bins, block: int) -> Float[Array, "N F"]:
        """Add up the slots of every Gaussian in emission order."""
        if isinstance(self.on, Mosaic):
            return self._sum_slots_one_by_one(slots, bins)
        N, F = bins.order.shape[0], slots.shape[1]
        padding = (0, -N % block)
        # Padding goes to rows of its own behind the last Gaussian.
        order = jnp.concatenate([bins.order, jnp.arange(N, N + padding[1], dtype=jnp.int32)])
        (sums,) = launch(
            functools.partial(_reduce_kernel, block=block, columns=F, width=pl.next_power_of_2(F)),
            "rasterize_sum_slots",
            (N + padding[1]) // block,
            [(N + padding[1], F)],
            1,
            self.on.interpret,
            order,
            jnp.pad(bins.first, padding),
            jnp.pad(bins.last, padding),
            slots,
        )
        return sums[:N]

    def _sum_slots_one_by_one(self, slots: Float[Array, "capacity F"], bins: Bins) -> Float[Array, "N F"]:
        """Add them up number by number: this backend cannot load from many places at once."""
        N, F = bins.order.shape[0], slots.shape[1]
        kernel = functools.partial(_reduce_one_by_one_kernel, on=self.on, block=GAUSSIANS)
        operands = bins.order, bins.first, bins.last, slots
        return self.on.start(kernel, "rasterize_sum_slots", pl.cdiv(N, GAUSSIANS), [(N, F)], 1, *operands)[0]


# ---- kernel bodies: every reference is the whole array


def walk(
    ids_ref: Ref, table_ref: Ref, begin: Array, end: Array, chunk: int, visit: Callable, state: tuple
) -> tuple[tuple, Array]:
    """Run state = visit(i, row, state) for i in [begin, end) until state[0], the transmittance, is spent.

    Returned are the last state and the position behind the last one visited.

    `row` holds the numbers of the i-th Gaussian as scalars. They are asked for while the one before is worked on,
    and its index one step earlier: two loads that wait for each other would take longer than the arithmetic.
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
    """Write 0 to the slots of the intersections in [position, end), which a walk did not visit."""

    def one(i: Array, _: None) -> None:
        slot = emission_ref[i]
        for k in range(slots_ref.shape[1]):
            slots_ref[slot, k] = jnp.float32(0)

    lax.fori_loop(position, end, one, None)


def _columns(table_ref: Ref, row: Array) -> list[Array]:
    """Load a row of a table as scalars."""
    return [table_ref[row, k] for k in range(table_ref.shape[1])]


def _forward_kernel(
    tile_ref: Ref,
    begin_ref: Ref,
    end_ref: Ref,
    ids_ref: Ref,
    table_ref: Ref,
    out_ref: Ref,
    *,
    on,
    width,
    tile,
    chunk,
):
    segment = on.program()
    px, py = on.centres(tile_ref[segment], width, tile)
    channels, begin = out_ref.shape[1] - 1, begin_ref[segment]

    def visit(_: Array, row: list, state: tuple) -> tuple:
        T, *out = state
        T, out = blend_step(splat_of(row), px, py, T, tuple(out))
        return (T, *out)

    state = (jnp.ones_like(py), *[jnp.zeros_like(py)] * channels)
    (T, *out), _ = walk(ids_ref, table_ref, begin, end_ref[segment], chunk, visit, state)
    for k, values in enumerate((*out, T)):
        on.store(out_ref, segment, k, value=values, zero=anchor(begin))


def _combine_kernel(of_tile_ref: Ref, part_ref: Ref, prefix_ref: Ref, total_ref: Ref, *, on):
    tile = on.program()
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


def _tangent_kernel(
    tile_ref: Ref,
    begin_ref: Ref,
    end_ref: Ref,
    ids_ref: Ref,
    table_ref: Ref,
    table_dot_ref: Ref,
    out_ref: Ref,
    *,
    on,
    width,
    tile,
    chunk,
):
    segment = on.program()
    px, py = on.centres(tile_ref[segment], width, tile)
    channels, begin = out_ref.shape[1] // 2 - 1, begin_ref[segment]

    def visit(i: Array, row: list, state: tuple) -> tuple:
        T, T_dot, *sums = state
        splat, direction = splat_of(row), splat_of(_columns(table_dot_ref, ids_ref[i]))
        _, out = blend_step(splat, px, py, T, tuple(sums[:channels]))
        T, T_dot, out_dot = tangent_step(splat, direction, px, py, T, T_dot, tuple(sums[channels:]))
        return (T, T_dot, *out, *out_dot)

    state = (jnp.ones_like(py), *[jnp.zeros_like(py)] * (2 * channels + 1))
    state, _ = walk(ids_ref, table_ref, begin, end_ref[segment], chunk, visit, state)
    for k, values in enumerate(state):
        on.store(out_ref, segment, k, value=values, zero=anchor(begin))


def _combine_tangent_kernel(of_tile_ref: Ref, part_ref: Ref, total_ref: Ref, *, on):
    tile = on.program()
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


def _adjoint_kernel(
    tile_ref: Ref,
    begin_ref: Ref,
    end_ref: Ref,
    ids_ref: Ref,
    emission_ref: Ref,
    table_ref: Ref,
    prefix_ref: Ref,
    inputs_ref: Ref,
    _: Ref,
    slots_ref: Ref,
    *,
    on,
    width,
    tile,
    chunk,
):
    segment = on.program()
    tile_index, begin = tile_ref[segment], begin_ref[segment]
    px, py = on.centres(tile_index, width, tile)
    load = functools.partial(on.load, zero=anchor(begin))
    everything, *v_out, v_alpha = [load(inputs_ref, tile_index, k) for k in range(inputs_ref.shape[1])]
    *front, T = [load(prefix_ref, segment, k) for k in range(prefix_ref.shape[1])]
    behind = everything - (1 - T) * v_alpha
    for f, v in zip(front, v_out, strict=True):
        behind = behind - f * v

    def visit(i: Array, row: list, state: tuple) -> tuple:
        slot = emission_ref[i]
        T, behind, pull = adjoint_step(splat_of(row), px, py, *state, tuple(v_out), v_alpha)
        sums = [*on.moments(pull), *(total(pull.weight * v) for v in v_out)]
        for k, value in enumerate(sums):
            slots_ref[slot, k] = value
        return T, behind

    end = end_ref[segment]
    _, position = walk(ids_ref, table_ref, begin, end, chunk, visit, (T, behind))
    if on.fills:
        clear(slots_ref, emission_ref, position, end)


def _reduce_kernel(
    order_ref: Ref, first_ref: Ref, last_ref: Ref, slots_ref: Ref, sums_ref: Ref, *, block, columns, width
):
    rank = rows(block)
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


def _reduce_one_by_one_kernel(
    order_ref: Ref, first_ref: Ref, last_ref: Ref, slots_ref: Ref, sums_ref: Ref, *, on, block
):
    columns, count = slots_ref.shape[1], order_ref.shape[0]

    def gaussian(rank: Array, _: None) -> None:
        add = lambda i, sums: tuple(s + slots_ref[i, k] for k, s in enumerate(sums))
        sums = lax.fori_loop(first_ref[rank], last_ref[rank], add, (jnp.float32(0),) * columns)
        splat = order_ref[rank]
        for k, value in enumerate(sums):
            sums_ref[splat, k] = value

    start = on.program() * block
    lax.fori_loop(start, jnp.minimum(start + block, count), gaussian, None)
