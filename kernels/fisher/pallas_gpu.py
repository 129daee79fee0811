"""Fisher sums and EIG map as Pallas kernels, for both backends (`kernels.rasterize.gpu_backends`).

One program walks one segment of a tile list with all pixels of the tile in registers. It starts from the
prefix (accumulated color and transmittance) that the segmented forward pass of `rasterize` saves. The map
sums the segments of a tile. The Fisher kernel writes the partial sums of each intersection to a slot of its own, in
emission order, and sums the slots of a Gaussian, which are contiguous: no atomics, hence bitwise reproducible.
"""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import ArrayLike, Float

from kernels.bin_tiles.types import Bins, TileGrid
from kernels.common.pallas import Launch
from kernels.fisher import quadratic_forms_gpu
from kernels.fisher.config import FisherConfig, choose_config
from kernels.fisher.eig import eig_of_covariance
from kernels.fisher.quadratic_forms import POWERS, from_moments
from kernels.fisher.tile_walk import (
    NUM_SUMS,
    Pair,
    PixelState,
    add_color_covariance,
    append_eig,
    blend_pair,
    eig_records,
    fisher_terms,
    pair_information,
    splat_records,
    whitener_of,
)
from kernels.fisher.types import Uncertainty, ViewGeometry
from kernels.project.types import Projected
from kernels.rasterize.alpha_blending import splat_table
from kernels.rasterize.gpu_backends import Backend, Mosaic, Triton, anchor
from kernels.rasterize.kernel_bodies import clear, walk_segment
from kernels.rasterize.pallas_gpu import Kernels
from kernels.rasterize.primitives import forward
from kernels.rasterize.segments import Segments
from kernels.rasterize.tile_walk import from_tiles, to_tiles

Ref = Any  # a Pallas reference


@dataclass(frozen=True)
class FisherKernels:
    """The ops of `kernels.fisher.xla` as kernels.

    Attributes:
        implementation: "pallas" or "mosaic".
        config: block sizes; None takes `choose_config`.
    """

    implementation: str = "pallas"
    config: FisherConfig | None = None

    def fisher_information(
        self,
        projected: Projected,
        features: Float[Array, "N C"],
        bins: Bins,
        image: Float[Array, "H W 3"],
        weight: Float[Array, "H W"],
        jacobian: Float[Array, "N 6 p"] | ViewGeometry | None,
        add_to: tuple[Float[Array, "N packed"], Float[ArrayLike, ""]] | None = None,
    ) -> tuple[Float[Array, "N packed"], Float[Array, "N"]]:
        """Accumulate Fisher information; see `kernels.fisher.fisher_information`.

        `add_to` is given with a `ViewGeometry` and only then.
        """
        grid, backend = bins.grid, _backend(self.implementation)
        config = self.config or choose_config(bins.capacity, grid.num_tiles)
        records = splat_records(projected, features)
        segments, prefix = _prefixes(projected, features, bins, backend)
        inputs = _blocks(to_tiles(jnp.concatenate([image, weight[..., None]], -1), grid), backend, grid)
        slots = jnp.zeros((bins.capacity, NUM_SUMS), jnp.float32)
        operands = (*segments[:3], bins.ids, bins.emission, records, prefix, inputs, slots)
        kernel = functools.partial(_accumulate_kernel, grid=grid, chunk=config.chunk)
        how = Launch("fisher_accumulate", segments.tile.shape[0], config.accumulate_warps)
        (slots,) = backend.run(kernel, how, [slots.shape], *operands, in_place=True)
        sums = Kernels(backend).sum_slots(slots, bins, config.reduce_block)
        if isinstance(jacobian, ViewGeometry):
            assert add_to is not None and isinstance(backend, Triton)
            total, sign = add_to
            return quadratic_forms_gpu.add_precision(total, sign, jacobian, sums, bins, backend.interpret), sums[:, 15]
        jacobian = None if jacobian is None else jnp.where(projected.opacity[:, None, None] > 0, jacobian, 0.0)
        return from_moments(sums[:, :15], whitener_of(records), jacobian), sums[:, 15]

    def eig_map(
        self,
        projected: Projected,
        features: Float[Array, "N C"],
        bins: Bins,
        image: Float[Array, "H W 3"],
        alpha: Float[Array, "H W"],
        uncertainty: Uncertainty,
        *,
        mode: str,
    ) -> Float[Array, "H W"]:
        """Compute the EIG map; see `kernels.fisher.eig_map`."""
        grid, backend = bins.grid, _backend(self.implementation)
        config = self.config or choose_config(bins.capacity, grid.num_tiles)
        footprint, color_var, noise_var, background_var = uncertainty
        splats = splat_records(projected, features)
        if isinstance(footprint, tuple):
            assert isinstance(backend, Triton)
            coefficients = quadratic_forms_gpu.quartic_coefficients(*footprint, backend.interpret)
            records = append_eig(splats, coefficients, color_var)
        else:
            records = eig_records(splats, footprint, color_var)
        segments, prefix = _prefixes(projected, features, bins, backend)
        kernel = functools.partial(_map_kernel, grid=grid, chunk=config.chunk)
        how = Launch("fisher_eig_map", segments.tile.shape[0], config.map_warps)
        blocks = (segments.tile.shape[0], 6, *backend.shape_of(grid.tile))
        operands = *segments[:3], bins.ids, records, prefix, _blocks(to_tiles(image, grid), backend, grid)
        (parts,) = backend.run(kernel, how, [blocks], *operands)
        parts = parts.reshape(*parts.shape[:2], grid.tile**2)
        how = Launch("fisher_sum_segments", grid.num_tiles, config.sum_warps)
        (M,) = backend.run(_sum_kernel, how, [(grid.num_tiles, *parts.shape[1:])], segments.of_tile, parts)
        return eig_of_covariance(from_tiles(M, grid), alpha, noise_var, background_var, mode)


def _backend(implementation: str) -> Backend:
    """Select the backend of "pallas" or "mosaic"."""
    return Mosaic() if implementation == "mosaic" else Triton(jax.default_backend() != "gpu")


def _prefixes(
    projected: Projected, features: Float[Array, "N C"], bins: Bins, backend: Backend
) -> tuple[Segments, Float[Array, "S C_and_T ..."]]:
    """Compute the segments of the lists, and features and T in front of each.

    This is exactly the forward walk of `rasterize`: a program that also renders these features runs it once.
    """
    name = "mosaic" if isinstance(backend, Mosaic) else "pallas"
    _, prefix = forward(splat_table(projected, features), bins, implementation=name)
    return Kernels(backend).cut(bins)[1], _blocks(prefix, backend, bins.grid)


def _blocks(values: Float[Array, "T C P"], backend: Backend, grid: TileGrid) -> Float[Array, "T C ..."]:
    """Reshape the pixels of tiles to the layout of the backend."""
    return values.reshape(*values.shape[:2], *backend.shape_of(grid.tile))


# ---- kernel bodies: every reference is the whole array


def _state_before(
    backend: Backend, prefix_ref: Ref, pixels_ref: Ref, segment: Array, tile_index: Array, zero: Array
) -> tuple[Array, ...]:
    """Load the `PixelState` of a tile in front of a segment."""
    load = functools.partial(backend.load, zero=zero)
    behind = [load(pixels_ref, tile_index, k) - load(prefix_ref, segment, k) for k in range(3)]
    return load(prefix_ref, segment, prefix_ref.shape[1] - 1), *behind


def _accumulate_kernel(*refs: Ref, backend: Backend, grid: TileGrid, chunk: int) -> None:
    tile_ref, begin_ref, end_ref, ids_ref, emission_ref, records_ref, prefix_ref, pixels_ref, _, slots_ref = refs
    segment = backend.program()
    index, begin = tile_ref[segment], begin_ref[segment]
    px, py = backend.pixel_centers(index, grid)
    zero = anchor(begin)
    weight = backend.load(pixels_ref, index, 3, zero=zero)

    def step(i: Array, record: list, state: tuple) -> tuple:
        slot = emission_ref[i]
        pair, after = blend_pair(record, px, py, PixelState(*state))
        backend.write_totals(slots_ref, slot, _sums_over_rows(pair, weight))
        return tuple(after)

    state = _state_before(backend, prefix_ref, pixels_ref, segment, index, zero)
    end = end_ref[segment]
    _, position = walk_segment(ids_ref, records_ref, begin, end, chunk, step, state)
    if backend.is_output_uninitialized:
        clear(slots_ref, emission_ref, position, end)


def _sums_over_rows(pair: Pair, weight: Array) -> list[Array]:
    """Compute `fisher_terms`, summed over the rows of a tile if s is the same in all of them.

    Powers of s are then multiplied after these sums, which stay inside a thread.
    """
    if pair.s.shape == pair.t.shape:
        return fisher_terms(pair, weight)
    in_t = [pair_information(pair, weight)]
    for _ in range(4):
        in_t.append(in_t[-1] * pair.t)
    in_t = [jnp.sum(values, 0) for values in in_t]
    s = pair.s.reshape(in_t[0].shape)
    columns = {(0, b): values for b, values in enumerate(in_t)}
    for a, b in POWERS:
        if a:
            columns[a, b] = columns[a - 1, b] * s
    return [*(columns[power] for power in POWERS), weight * pair.w * pair.w]


def _map_kernel(*refs: Ref, backend: Backend, grid: TileGrid, chunk: int) -> None:
    tile_ref, begin_ref, end_ref, ids_ref, records_ref, prefix_ref, pixels_ref, parts_ref = refs
    segment = backend.program()
    index, begin = tile_ref[segment], begin_ref[segment]
    px, py = backend.pixel_centers(index, grid)
    zero = anchor(begin)

    def step(_: Array, record: list, state: tuple) -> tuple:
        pair, pixel = blend_pair(record, px, py, PixelState(*state[:4]))
        return (*pixel, *add_color_covariance(record, pair, list(state[4:])))

    pixel = _state_before(backend, prefix_ref, pixels_ref, segment, index, zero)
    state = (*pixel, *[jnp.zeros_like(py)] * 6)
    state, _ = walk_segment(ids_ref, records_ref, begin, end_ref[segment], chunk, step, state)
    for k, values in enumerate(state[4:]):
        backend.store(parts_ref, segment, k, value=values, zero=zero)


def _sum_kernel(of_tile_ref: Ref, parts_ref: Ref, sums_ref: Ref, *, backend: Backend) -> None:
    tile = backend.program()

    def add(i: Array, sums: tuple) -> tuple:
        return tuple(total + parts_ref[i, k, :] for k, total in enumerate(sums))

    zero = jnp.zeros(parts_ref.shape[2], jnp.float32)
    sums = lax.fori_loop(of_tile_ref[tile], of_tile_ref[tile + 1], add, (zero,) * parts_ref.shape[1])
    for k, values in enumerate(sums):
        sums_ref[tile, k, :] = values
