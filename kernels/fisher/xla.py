"""Fisher sums and EIG map as walks in jnp (CPU, TPU, and any other XLA device)."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Float

from kernels.bin_tiles import Bins
from kernels.fisher.information_gain import information_gain
from kernels.fisher.quadratic_forms import from_moments
from kernels.fisher.tile_walk import (
    SUMS,
    Front,
    add_gain,
    eig_records,
    fisher_parts,
    splat_records,
    start,
    visit,
    whitener_of,
)
from kernels.rasterize.tile_walk import from_tiles, one_by_one, to_tiles, walk_tiles


def accumulate(
    mean2d: Float[Array, "N 2"],
    conic: Float[Array, "N 3"],
    opacity: Float[Array, "N"],
    features: Float[Array, "N C"],
    bins: Bins,
    image: Float[Array, "H W 3"],
    weight: Float[Array, "H W"],
    jacobian: Float[Array, "N 6 p"] | None,
    *,
    tile: int,
) -> tuple[Float[Array, "N packed"], Float[Array, "N"]]:
    """See `kernels.fisher.accumulate`."""
    height, width = weight.shape
    records = splat_records(mean2d, conic, opacity, features[:, :3])
    jacobian = None if jacobian is None else jnp.where(opacity[:, None, None] > 0, jacobian, 0.0)
    inputs = jnp.concatenate([start(image, tile), to_tiles(weight[..., None], tile)], 1)

    def first(pixels: tuple, px: Array) -> tuple:
        return pixels[:4]

    def step(record: list, px: Array, py: Array, pixels: tuple, state: tuple) -> tuple[tuple, tuple]:
        pair, front = visit(record, px, py, Front(*state))
        return tuple(front), tuple(fisher_parts(pair, pixels[4]))

    _, sums = walk_tiles(one_by_one(step), bins, records, inputs, first, SUMS, width=width, height=height, tile=tile)
    return from_moments(sums[:, :15], whitener_of(records), jacobian), sums[:, 15]


def eig_map(
    mean2d: Float[Array, "N 2"],
    conic: Float[Array, "N 3"],
    opacity: Float[Array, "N"],
    features: Float[Array, "N C"],
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
) -> Float[Array, "H W"]:
    """See `kernels.fisher.eig_map`."""
    height, width = alpha.shape
    records = eig_records(splat_records(mean2d, conic, opacity, features[:, :3]), factor, q)

    def first(pixels: tuple, px: Array) -> tuple:
        return (*pixels, *[jnp.zeros_like(px)] * 6)

    def step(record: list, px: Array, py: Array, _: tuple, state: tuple) -> tuple[tuple, tuple]:
        pair, front = visit(record, px, py, Front(*state[:4]))
        return (*front, *add_gain(record, pair, list(state[4:]))), ()

    state, _ = walk_tiles(
        one_by_one(step), bins, records, start(image, tile), first, width=width, height=height, tile=tile
    )
    M = from_tiles(state[:, 4:], width, height, tile)
    return information_gain(M, alpha, noise_var, background_var, mode)
