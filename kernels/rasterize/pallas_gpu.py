"""Rasterize, its tangent and its adjoint as Pallas kernels, for both backends (`gpu_backends`).

One program walks one segment of a tile list with all pixels of the tile in registers. Segments are blended
from T = 1 independently and combined front to back afterwards (blending is associative). The adjoint starts
every segment from the saved prefix, writes the partial sums of each intersection to a slot of its own, in
emission order, and sums the slots of a Gaussian, which are contiguous: no atomics, hence bitwise
reproducible.
"""

import functools
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jaxtyping import Float

from kernels.bin_tiles.types import Bins, TileGrid
from kernels.common.pallas import Launch, launch
from kernels.rasterize import kernel_bodies
from kernels.rasterize.alpha_blending import FOOTPRINT_COLUMNS, from_moments
from kernels.rasterize.config import RasterConfig, choose_config
from kernels.rasterize.gpu_backends import Backend, Mosaic
from kernels.rasterize.segments import Segments, cut, max_segments
from kernels.rasterize.tile_walk import from_tiles, to_tiles

BLOCK = 16  # Gaussians per program of `_sum_slots_one_by_one`


@dataclass(frozen=True)
class Kernels:
    """The walks of `kernels.rasterize.xla` as kernels.

    Attributes:
        backend: compiler of the kernels.
        config: block sizes; None takes `choose_config`.
    """

    backend: Backend
    config: RasterConfig | None = None

    def saved_shape(self, capacity: int, channels: int, grid: TileGrid) -> tuple[int, ...]:
        """Compute the shape of the prefixes that `forward` saves: sums and T in front of every segment."""
        length = (self.config or choose_config(capacity, grid.num_tiles)).segment
        return max_segments(capacity, grid.num_tiles, length), channels, grid.tile**2

    def cut(self, bins: Bins) -> tuple[RasterConfig, Segments]:
        """Choose the block sizes and cut the lists into segments."""
        capacity, num_tiles = bins.capacity, bins.grid.num_tiles
        config = self.config or choose_config(capacity, num_tiles)
        return config, cut(bins.tile_starts, max_segments(capacity, num_tiles, config.segment), config.segment)

    def forward(
        self, table: Float[Array, "N F"], bins: Bins
    ) -> tuple[Float[Array, "H W C_and_alpha"], Float[Array, "S C_and_T P"]]:
        """Compute the features with, last, the accumulated alpha; and the prefix of every segment."""
        config, segments = self.cut(bins)
        num_segments, num_tiles = segments.tile.shape[0], bins.grid.num_tiles
        pixels = table.shape[1] - FOOTPRINT_COLUMNS + 1, bins.grid.tile**2
        kernel = functools.partial(kernel_bodies.forward_kernel, grid=bins.grid, chunk=config.chunk)
        how = Launch("rasterize_forward", num_segments, config.warps)
        blocks = (num_segments, pixels[0], *self.backend.shape_of(bins.grid.tile))
        (partial,) = self.backend.run(kernel, how, [blocks], *segments[:3], bins.ids, table)
        how = Launch("rasterize_combine", num_tiles, config.combine_warps)
        shapes = [(num_segments, *pixels), (num_tiles, *pixels)]
        operands = segments.of_tile, partial.reshape(shapes[0])
        prefix, total = self.backend.run(kernel_bodies.combine_kernel, how, shapes, *operands)
        return from_tiles(total, bins.grid), prefix

    def tangent(
        self,
        table: Float[Array, "N F"],
        saved: Float[Array, "S C_and_T P"],
        table_dot: Float[Array, "N F"],
        bins: Bins,
    ) -> Float[Array, "H W C_and_alpha"]:
        """Compute the tangent of the image for the tangent `table_dot` (log opacity in column 5)."""
        config, segments = self.cut(bins)
        num_segments, num_tiles, channels = segments.tile.shape[0], bins.grid.num_tiles, saved.shape[1]
        kernel = functools.partial(kernel_bodies.tangent_kernel, grid=bins.grid, chunk=config.chunk)
        how = Launch("rasterize_tangent", num_segments, config.warps)
        blocks = (num_segments, 2 * channels, *self.backend.shape_of(bins.grid.tile))
        (partial,) = self.backend.run(kernel, how, [blocks], *segments[:3], bins.ids, table, table_dot)
        how = Launch("rasterize_combine_tangent", num_tiles, config.combine_warps)
        operands = segments.of_tile, partial.reshape(*blocks[:2], -1)
        shape = (num_tiles, channels, bins.grid.tile**2)
        (total,) = self.backend.run(kernel_bodies.combine_tangent_kernel, how, [shape], *operands)
        return from_tiles(total, bins.grid)

    def adjoint(
        self,
        table: Float[Array, "N F"],
        image: Float[Array, "H W C_and_alpha"],
        saved: Float[Array, "S C_and_T P"],
        v: Float[Array, "H W C_and_alpha"],
        bins: Bins,
    ) -> Float[Array, "N F"]:
        """Compute the cotangent of the table (log opacity in column 5) for the cotangent `v` of the image."""
        config, segments = self.cut(bins)
        total = jnp.sum(image * v, -1, keepdims=True)
        inputs = to_tiles(jnp.concatenate([total, v], -1), bins.grid)
        inputs, saved = (x.reshape(*x.shape[:2], *self.backend.shape_of(bins.grid.tile)) for x in (inputs, saved))
        slots = jnp.zeros((bins.capacity, table.shape[1]), jnp.float32)
        kernel = functools.partial(kernel_bodies.adjoint_kernel, grid=bins.grid, chunk=config.chunk)
        how = Launch("rasterize_adjoint", segments.tile.shape[0], config.warps)
        operands = (*segments[:3], bins.ids, bins.emission, table, saved, inputs, slots)
        (slots,) = self.backend.run(kernel, how, [slots.shape], *operands, in_place=True)
        return from_moments(self.sum_slots(slots, bins, config.reduce_block), table[:, 2:5])

    def sum_slots(self, slots: Float[Array, "capacity F"], bins: Bins, block: int) -> Float[Array, "N F"]:
        """Sum the slots of every Gaussian in emission order."""
        if isinstance(self.backend, Mosaic):
            return self._sum_slots_one_by_one(slots, bins)
        N, F = bins.order.shape[0], slots.shape[1]
        padding = (0, -N % block)
        # Padding rows lie behind the last Gaussian.
        order = jnp.concatenate([bins.order, jnp.arange(N, N + padding[1], dtype=jnp.int32)])
        kernel = functools.partial(kernel_bodies.reduce_kernel, block=block, columns=F, width=pl.next_power_of_2(F))
        how = Launch("rasterize_sum_slots", (N + padding[1]) // block)
        operands = order, jnp.pad(bins.first, padding), jnp.pad(bins.last, padding), slots
        (sums,) = launch(kernel, how, [(N + padding[1], F)], *operands, interpret=self.backend.interpret)
        return sums[:N]

    def _sum_slots_one_by_one(self, slots: Float[Array, "capacity F"], bins: Bins) -> Float[Array, "N F"]:
        """Sum number by number: the Mosaic backend has no gather load."""
        N, F = bins.order.shape[0], slots.shape[1]
        kernel = functools.partial(kernel_bodies.reduce_one_by_one_kernel, block=BLOCK)
        how, operands = Launch("rasterize_sum_slots", pl.cdiv(N, BLOCK)), (bins.order, bins.first, bins.last, slots)
        return self.backend.run(kernel, how, [(N, F)], *operands)[0]
