"""Fisher sums and EIG map as walks in jnp (CPU, TPU, and any other XLA device)."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kernels.bin_tiles.types import Bins
from kernels.fisher.eig import eig_of_covariance
from kernels.fisher.quadratic_forms import from_moments
from kernels.fisher.tile_walk import (
    NUM_SUMS,
    PixelState,
    add_color_covariance,
    blend_pair,
    eig_records,
    fisher_terms,
    initial_state,
    splat_records,
    whitener_of,
)
from kernels.fisher.types import Uncertainty
from kernels.project.types import Projected
from kernels.rasterize.tile_walk import from_tiles, one_by_one, to_tiles, walk_tiles


def fisher_information(
    projected: Projected,
    features: Float[Array, "N C"],
    bins: Bins,
    image: Float[Array, "H W 3"],
    weight: Float[Array, "H W"],
    jacobian: Float[Array, "N 6 p"] | None,
) -> tuple[Float[Array, "N packed"], Float[Array, "N"]]:
    """Accumulate Fisher information; see `kernels.fisher.fisher_information`."""
    records = splat_records(projected, features)
    jacobian = None if jacobian is None else jnp.where(projected.opacity[:, None, None] > 0, jacobian, 0.0)
    inputs = jnp.concatenate([initial_state(image, bins.grid), to_tiles(weight[..., None], bins.grid)], 1)

    def start(pixels: tuple, px: Array) -> tuple:
        return pixels[:4]

    def step(record: list, px: Array, py: Array, pixels: tuple, state: tuple) -> tuple[tuple, tuple]:
        pair, state = blend_pair(record, px, py, PixelState(*state))
        return tuple(state), tuple(fisher_terms(pair, pixels[4]))

    _, sums = walk_tiles(one_by_one(step), bins, records, inputs, start, NUM_SUMS)
    return from_moments(sums[:, :15], whitener_of(records), jacobian), sums[:, 15]


def eig_map(
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
    factor, color_var, noise_var, background_var = uncertainty
    assert not isinstance(factor, tuple)
    records = eig_records(splat_records(projected, features), factor, color_var)

    def start(pixels: tuple, px: Array) -> tuple:
        return (*pixels, *[jnp.zeros_like(px)] * 6)

    def step(record: list, px: Array, py: Array, _: tuple, state: tuple) -> tuple[tuple, tuple]:
        pair, pixel = blend_pair(record, px, py, PixelState(*state[:4]))
        return (*pixel, *add_color_covariance(record, pair, list(state[4:]))), ()

    state, _ = walk_tiles(one_by_one(step), bins, records, initial_state(image, bins.grid), start)
    M = from_tiles(state[:, 4:], bins.grid)
    return eig_of_covariance(M, alpha, noise_var, background_var, mode)
