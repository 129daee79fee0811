"""Fisher sums and EIG map as Pallas kernels, for both backends (`kernels.rasterize.gpu_backends`).

One program walks one segment of a tile list with all pixels of the tile in registers. It starts from the
prefix (accumulated colour and transmittance) that the segmented forward pass of `rasterize` leaves. The map
adds up the segments of a tile. The sums write the partial sums of each intersection to a slot of its own, in
emission order, and add up the slots of a Gaussian, which are contiguous: no atomics, hence bitwise reproducible.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import ArrayLike, Float

from kernels.bin_tiles import Bins
from kernels.fisher import quadratic_forms_gpu
from kernels.fisher.config import FisherConfig, choose_config
from kernels.fisher.footprint_jacobian import Geometry
from kernels.fisher.information_gain import information_gain
from kernels.fisher.quadratic_forms import POWERS, from_moments
from kernels.fisher.tile_walk import (
    SUMS,
    Front,
    Pair,
    add_gain,
    append_eig,
    eig_records,
    fisher_parts,
    information,
    splat_records,
    visit,
    whitener_of,
)
from kernels.rasterize.gpu_backends import Backend, Mosaic, Triton, anchor
from kernels.rasterize.kernel_bodies import clear, walk
from kernels.rasterize.pallas_gpu import Kernels
from kernels.rasterize.primitives import forward
from kernels.rasterize.segments import Segments
from kernels.rasterize.tile_walk import from_tiles, to_tiles

Ref = Any  # a Pallas reference


def accumulate(
    mean2d: Float[Array, "N 2"],
    conic: Float[Array, "N 3"],
    opacity: Float[Array, "N"],
    features: Float[Array, "N C"],
    bins: Bins,
    image: Float[Array, "H W 3"],
    weight: Float[Array, "H W"],
    jacobian: Float[Array, "N 6 p"] | Geometry | None,
    onto: Float[Array, "N packed"] | None = None,
    sign: Float[ArrayLike, ""] = 1.0,
    *,
    tile: int,
    implementation: str = "pallas",
    config: FisherConfig | None = None,
) -> tuple[Float[Array, "N packed"], Float[Array, "N"]]:
    """See `kernels.fisher.accumulate`; `onto` comes with a `Geometry`; `config` None takes what suits the device."""
    (height, width), on = weight.shape, _backend(implementation)
    config = config or choose_config(bins.ids.shape[0], bins.tile_starts.shape[0] - 1)
    records = splat_records(mean2d, conic, opacity, features[:, :3])
    segments, prefix = _prefixes(mean2d, conic, opacity, features, bins, width, height, tile, on)
    inputs = _blocks(to_tiles(jnp.concatenate([image, weight[..., None]], -1), tile), on, tile)
    slots = jnp.zeros((bins.ids.shape[0], SUMS), jnp.float32)
    operands = (*segments[:3], bins.ids, bins.emission, records, prefix, inputs, slots)
    (slots,) = on.start(
        functools.partial(_accumulate_kernel, on=on, width=width, tile=tile, chunk=config.chunk),
        "fisher_accumulate",
        segments.tile.shape[0],
        [slots.shape],
        config.accumulate_warps,
        *operands,
        into=True,
    )
    sums = Kernels(on).sum_slots(slots, bins, config.reduce_block)
    if isinstance(jacobian, Geometry):
        return quadratic_forms_gpu.add_precision(onto, sign, jacobian, sums, bins, on.interpret), sums[:, 15]
    jacobian = None if jacobian is None else jnp.where(opacity[:, None, None] > 0, jacobian, 0.0)
    return from_moments(sums[:, :15], whitener_of(records), jacobian), sums[:, 15]


def eig_map(
    mean2d: Float[Array, "N 2"],
    conic: Float[Array, "N 3"],
    opacity: Float[Array, "N"],
    features: Float[Array, "N C"],
    bins: Bins,
    image: Float[Array, "H W 3"],
    alpha: Float[Array, "H W"],
    factor: Float[Array, "N 6 r"] | tuple[Geometry, Float[Array, "N 10 10"]],
    q: Float[Array, "N"],
    noise_var: Float[ArrayLike, ""],
    background_var: Float[ArrayLike, "*map"],
    *,
    mode: str,
    tile: int,
    implementation: str = "pallas",
    config: FisherConfig | None = None,
) -> Float[Array, "H W"]:
    """See `kernels.fisher.eig_map`; `config` None takes what suits the device."""
    (height, width), on = alpha.shape, _backend(implementation)
    config = config or choose_config(bins.ids.shape[0], bins.tile_starts.shape[0] - 1)
    splats = splat_records(mean2d, conic, opacity, features[:, :3])
    if isinstance(factor, tuple):
        records = append_eig(splats, quadratic_forms_gpu.quartic(*factor, on.interpret), q)
    else:
        records = eig_records(splats, factor, q)
    segments, prefix = _prefixes(mean2d, conic, opacity, features, bins, width, height, tile, on)
    (parts,) = on.start(
        functools.partial(_map_kernel, on=on, width=width, tile=tile, chunk=config.chunk),
        "fisher_eig_map",
        segments.tile.shape[0],
        [(segments.tile.shape[0], 6, *on.shape_of(tile))],
        config.map_warps,
        *segments[:3],
        bins.ids,
        records,
        prefix,
        _blocks(to_tiles(image, tile), on, tile),
    )
    tiles = bins.tile_starts.shape[0] - 1
    parts = parts.reshape(*parts.shape[:2], tile * tile)
    shape = (tiles, *parts.shape[1:])
    operands = segments.of_tile, parts
    kernel = functools.partial(_sum_kernel, on=on)
    (M,) = on.start(kernel, "fisher_sum_segments", tiles, [shape], config.sum_warps, *operands)
    return information_gain(from_tiles(M, width, height, tile), alpha, noise_var, background_var, mode)


def _backend(implementation: str) -> Backend:
    """Return the backend of "pallas" or "mosaic"."""
    return Mosaic() if implementation == "mosaic" else Triton(jax.default_backend() != "gpu")


def _prefixes(
    mean2d: Float[Array, "N 2"],
    conic: Float[Array, "N 3"],
    opacity: Float[Array, "N"],
    features: Float[Array, "N C"],
    bins: Bins,
    width: int,
    height: int,
    tile: int,
    on: Backend,
) -> tuple[Segments, Float[Array, "S C_and_T ..."]]:
    """Return the segments of the lists, and features and T in front of each.

    This is the walk of `rasterize`, to the letter: a program that has rendered these features runs it once.
    """
    table = jnp.concatenate([mean2d, conic, opacity[:, None], features], -1)
    name = "mosaic" if isinstance(on, Mosaic) else "pallas"
    _, prefix = forward(table, bins, width=width, height=height, tile=tile, implementation=name)
    return Kernels(on).cut(bins)[1], _blocks(prefix, on, tile)


def _blocks(values: Float[Array, "T C P"], on: Backend, tile: int) -> Float[Array, "T C ..."]:
    """Lay the pixels of tiles out as the backend holds them."""
    return values.reshape(*values.shape[:2], *on.shape_of(tile))


# ---- kernel bodies: every reference is the whole array


def _front(
    on: Backend, prefix_ref: Ref, pixels_ref: Ref, segment: Array, tile_index: Array, zero: Array
) -> tuple[Array, ...]:
    """Return what the pixels of a tile remember in front of a segment, as a `Front`."""
    load = functools.partial(on.load, zero=zero)
    behind = [load(pixels_ref, tile_index, k) - load(prefix_ref, segment, k) for k in range(3)]
    return load(prefix_ref, segment, prefix_ref.shape[1] - 1), *behind


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
    on: Backend,
    width: int,
    tile: int,
    chunk: int,
) -> None:
    segment = on.program()
    index, begin = tile_ref[segment], begin_ref[segment]
    px, py = on.centres(index, width, tile)
    zero = anchor(begin)
    weight = on.load(pixels_ref, index, 3, zero=zero)

    def step(i: Array, record: list, front: tuple) -> tuple:
        slot = emission_ref[i]
        pair, front = visit(record, px, py, Front(*front))
        on.write_totals(slots_ref, slot, _sums_over_rows(pair, weight))
        return tuple(front)

    front = _front(on, prefix_ref, pixels_ref, segment, index, zero)
    end = end_ref[segment]
    _, position = walk(ids_ref, records_ref, begin, end, chunk, step, front)
    if on.fills:
        clear(slots_ref, emission_ref, position, end)


def _sums_over_rows(pair: Pair, weight: Array) -> list[Array]:
    """Return `fisher_parts`, as sums over the rows of a tile where s is the same in all of them.

    The powers of s then wait for these sums, which stay inside a thread.
    """
    if pair.s.shape == pair.t.shape:
        return fisher_parts(pair, weight)
    in_t = [information(pair, weight)]
    for _ in range(4):
        in_t.append(in_t[-1] * pair.t)
    in_t = [jnp.sum(values, 0) for values in in_t]
    s = pair.s.reshape(in_t[0].shape)
    columns = {(0, b): values for b, values in enumerate(in_t)}
    for a, b in POWERS:
        if a:
            columns[a, b] = columns[a - 1, b] * s
    return [*(columns[power] for power in POWERS), weight * pair.w * pair.w]


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
    on: Backend,
    width: int,
    tile: int,
    chunk: int,
) -> None:
    segment = on.program()
    index, begin = tile_ref[segment], begin_ref[segment]
    px, py = on.centres(index, width, tile)
    zero = anchor(begin)

    def step(_: Array, record: list, state: tuple) -> tuple:
        pair, front = visit(record, px, py, Front(*state[:4]))
        return (*front, *add_gain(record, pair, list(state[4:])))

    state = (*_front(on, prefix_ref, pixels_ref, segment, index, zero), *[jnp.zeros_like(py)] * 6)
    state, _ = walk(ids_ref, records_ref, begin, end_ref[segment], chunk, step, state)
    for k, values in enumerate(state[4:]):
        on.store(parts_ref, segment, k, value=values, zero=zero)


def _sum_kernel(of_tile_ref: Ref, parts_ref: Ref, sums_ref: Ref, *, on: Backend) -> None:
    tile = on.program()

    def add(i: Array, sums: tuple) -> tuple:
        return tuple(total + parts_ref[i, k, :] for k, total in enumerate(sums))

    zero = jnp.zeros(parts_ref.shape[2], jnp.float32)
    sums = lax.fori_loop(of_tile_ref[tile], of_tile_ref[tile + 1], add, (zero,) * parts_ref.shape[1])
    for k, values in enumerate(sums):
        sums_ref[tile, k, :] = values
