"""Fisher sums and EIG map as a walk over tiles in plain XLA operations.

One Gaussian against all pixels of a tile per step: on a CPU a step is a handful of vector instructions, and saturated
tiles stop early.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import ArrayLike, Float, Int, PyTree

from kernels.bin_tiles import Bins
from kernels.fisher.gain import information_gain, pack
from kernels.fisher.walk import Front, add_gain, eig_records, from_tiles, pixel_centres, splat_records, start, visit
from kernels.fisher.walk import to_tiles as cut
from kernels.rasterize.blend import T_STOP, alpha_gradient, falloff


def accumulate(
    mean2d: Float[Array, "N 2"],
    conic: Float[Array, "N 3"],
    opacity: Float[Array, "N"],
    color: Float[Array, "N 3"],
    bins: Bins,
    image: Float[Array, "H W 3"],
    weight: Float[Array, "H W"],
    *,
    tile: int,
) -> tuple[Float[Array, "N 21"], Float[Array, "N"]]:
    """See `kernels.fisher.accumulate`."""
    records, fronts = splat_records(mean2d, conic, opacity, color), start(image, tile)
    weights, columns = cut(weight[..., None], tile), -(-image.shape[1] // tile)

    def one_tile(index: Int[Array, ""], slots: Float[Array, "capacity 22"]) -> Float[Array, "capacity 22"]:
        px, py = pixel_centres(index, columns, tile)

        def step(i: Int[Array, ""], record: list[Array], front: Front, slots: Array) -> tuple[Front, Array]:
            pair, front = visit(record, px, py, front)
            dx, dy, _ = falloff(tuple(record[:2]), tuple(record[2:5]), px, py)
            v = jnp.stack(alpha_gradient(dx, dy, tuple(record[2:5]), pair.slope))
            g = weights[index, 0] * sum(a * a for a in pair.a)
            S = lax.dot_general(v * g, v, (((1,), (1,)), ((), ())), precision="highest")
            row = jnp.append(pack(S), jnp.sum(weights[index, 0] * pair.w * pair.w))
            return front, lax.dynamic_update_slice(slots, row[None], (i, 0))

        return _walk(bins, index, records, Front(*fronts[index]), slots, step)

    slots = jnp.zeros((bins.ids.shape[0], 22), records.dtype)
    slots = lax.fori_loop(0, fronts.shape[0], one_tile, slots)
    listed = jnp.arange(bins.ids.shape[0]) < bins.tile_starts[-1]
    sums = jax.ops.segment_sum(slots, jnp.where(listed, bins.ids, opacity.shape[0]), opacity.shape[0])
    return sums[:, :21], sums[:, 21]


def eig_map(
    mean2d: Float[Array, "N 2"],
    conic: Float[Array, "N 3"],
    opacity: Float[Array, "N"],
    color: Float[Array, "N 3"],
    bins: Bins,
    image: Float[Array, "H W 3"],
    alpha: Float[Array, "H W"],
    Q: Float[Array, "N 21"],
    q: Float[Array, "N"],
    noise_var: Float[ArrayLike, ""],
    background_var: Float[ArrayLike, ""],
    *,
    mode: str,
    tile: int,
) -> Float[Array, "H W"]:
    """See `kernels.fisher.eig_map`."""
    records = eig_records(splat_records(mean2d, conic, opacity, color), Q, q)
    fronts, (height, width) = start(image, tile), alpha.shape

    def one_tile(index: Int[Array, ""]) -> Float[Array, "6 pixels"]:
        px, py = pixel_centres(index, -(-width // tile), tile)

        def step(i: Int[Array, ""], record: list[Array], front: Front, M: list[Array]) -> tuple[Front, list[Array]]:
            pair, front = visit(record, px, py, front)
            return front, add_gain(record, pair, M)

        return jnp.stack(_walk(bins, index, records, Front(*fronts[index]), [jnp.zeros_like(px)] * 6, step))

    M = lax.map(one_tile, jnp.arange(fronts.shape[0]))
    return information_gain(from_tiles(M, width, height, tile), alpha, noise_var, background_var, mode)


def _walk(
    bins: Bins,
    index: Int[Array, ""],
    records: Float[Array, "N numbers"],
    front: Front,
    sums: PyTree,
    step: Callable[[Array, list[Array], Front, PyTree], tuple[Front, PyTree]],
) -> PyTree:
    """Visit the list of tile `index` front to back until its end or until every pixel is saturated."""
    end = bins.tile_starts[index + 1]
    if records.shape[0] == 0:
        return sums

    def body(carry: tuple) -> tuple:
        i, front, sums = carry
        return i + 1, *step(i, list(records[bins.ids[i]]), front, sums)

    def cond(carry: tuple) -> Array:
        return (carry[0] < end) & (jnp.max(carry[1].T) > T_STOP)

    return lax.while_loop(cond, body, (bins.tile_starts[index], front, sums))[2]
