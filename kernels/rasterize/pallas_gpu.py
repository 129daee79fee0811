"""Rasterize, its tangent and its adjoint as Pallas kernels, for both backends (`pixels`).

One program walks one segment of a tile list with all pixels of the tile in registers. Segments are blended
from T = 1 on their own and combined front to back afterwards (blending is associative). The adjoint starts
every segment from the saved prefix, writes the partial sums of each intersection to a slot of its own, in
emission order, and adds up the slots of a Gaussian, which are contiguous: no atomics, hence bitwise
reproducible.
"""

import functools
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jaxtyping import Float

from kernels.bin_tiles.types import Bins, tile_grid
from kernels.common.pallas import launch
from kernels.rasterize import kernel_bodies
from kernels.rasterize.alpha_blending import GEOMETRY, from_moments
from kernels.rasterize.config import RasterConfig, choose_config
from kernels.rasterize.gpu_backends import Backend, Mosaic
from kernels.rasterize.segments import Segments, cut, segment_count
from kernels.rasterize.tile_walk import from_tiles, to_tiles

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
        kernel = functools.partial(kernel_bodies.forward_kernel, on=self.on, width=width, tile=tile, chunk=config.chunk)
        operands = (*segments[:3], bins.ids, table)
        (partial,) = self.on.start(kernel, "rasterize_forward", shape[0], [blocks], config.warps, *operands)
        prefix, total = self.on.start(
            functools.partial(kernel_bodies.combine_kernel, on=self.on),
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
        kernel = functools.partial(kernel_bodies.tangent_kernel, on=self.on, width=width, tile=tile, chunk=config.chunk)
        shape = (segments.tile.shape[0], 2 * channels, *self.on.shape_of(tile))
        operands = (*segments[:3], bins.ids, table, table_dot)
        (partial,) = self.on.start(kernel, "rasterize_tangent", shape[0], [shape], config.warps, *operands)
        (total,) = self.on.start(
            functools.partial(kernel_bodies.combine_tangent_kernel, on=self.on),
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
        kernel = functools.partial(kernel_bodies.adjoint_kernel, on=self.on, width=width, tile=tile, chunk=config.chunk)
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
            functools.partial(kernel_bodies.reduce_kernel, block=block, columns=F, width=pl.next_power_of_2(F)),
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
        kernel = functools.partial(kernel_bodies.reduce_one_by_one_kernel, on=self.on, block=GAUSSIANS)
        operands = bins.order, bins.first, bins.last, slots
        return self.on.start(kernel, "rasterize_sum_slots", pl.cdiv(N, GAUSSIANS), [(N, F)], 1, *operands)[0]
