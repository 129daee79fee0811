"""Rasterize, its tangent and its adjoint as walks in jnp (CPU, TPU, and any other XLA device)."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kernels.bin_tiles.types import Bins, TileGrid
from kernels.rasterize.alpha_blending import (
    FOOTPRINT_COLUMNS,
    alpha_of,
    alpha_slope,
    falloff,
    from_moments,
    pixel_value,
    splat_of,
    tangent_step,
)
from kernels.rasterize.tile_walk import from_tiles, one_by_one, running_sums, to_tiles, transmittances, walk_tiles

# (H, W, C + 1), alpha last
Image = Float[Array, "H W C_and_alpha"]


def saved_shape(capacity: int, channels: int, grid: TileGrid) -> tuple[int, ...]:
    """Return the shape of the array that `forward` saves for the other two walks: it is empty."""
    return (0,)


def forward(table: Float[Array, "N F"], bins: Bins) -> tuple[Image, Float[Array, "0"]]:
    """Compute the features with, last, the accumulated alpha; and the empty saved array."""
    channels = table.shape[1] - FOOTPRINT_COLUMNS

    def start(_: tuple, px: Array) -> tuple:
        return (jnp.ones_like(px), *[jnp.zeros_like(px)] * channels)

    def step(columns: list, px: Array, py: Array, _: tuple, state: tuple) -> tuple[tuple, None]:
        splat = splat_of(columns)
        alpha = alpha_of(splat.opacity, falloff(splat.mean2d, splat.conic, px, py)[2])[0]
        fronts, T = transmittances(state[0], alpha)
        weight = alpha * fronts
        added = [sum(weight[:, k] * f[:, k] for k in range(weight.shape[1])) for f in splat.features]
        return (T, *(o + more for o, more in zip(state[1:], added, strict=True))), None

    no_inputs = jnp.zeros((bins.grid.num_tiles, 0, bins.grid.tile**2))
    state, _ = walk_tiles(step, bins, table, no_inputs, start)
    image = from_tiles(jnp.concatenate([state[:, 1:], 1 - state[:, :1]], 1), bins.grid)
    return image, jnp.zeros(0, table.dtype)


def adjoint(
    table: Float[Array, "N F"], image: Image, saved: Float[Array, "0"], v: Image, bins: Bins
) -> Float[Array, "N F"]:
    """Compute the cotangent of the table (log opacity in column 5) for the cotangent `v` of the image."""
    total = jnp.sum(image * v, -1, keepdims=True)
    inputs = to_tiles(jnp.concatenate([total, v], -1), bins.grid)

    def start(pixels: tuple, px: Array) -> tuple:
        return jnp.ones_like(px), pixels[0]

    def step(columns: list, px: Array, py: Array, pixels: tuple, state: tuple) -> tuple[tuple, Array]:
        splat, v_out = splat_of(columns), pixels[1:-1]
        alpha, slope = alpha_of(splat.opacity, falloff(splat.mean2d, splat.conic, px, py)[2])
        fronts, T = transmittances(state[0], alpha)
        weight, value = alpha * fronts, pixel_value(splat.features, v_out, pixels[-1])
        behind, rest = running_sums(state[1], -weight * value)
        v_slope = slope * alpha_slope(fronts, value, behind, alpha)
        mean = splat.mean2d[0][..., 0] - px[..., 0], splat.mean2d[1][..., 0] - py[..., 0]
        v_features = jnp.einsum("bkp,bpc->bkc", weight, jnp.concatenate(v_out, 1).swapaxes(1, 2), precision="highest")
        return (T, rest), jnp.concatenate([_moments(v_slope, *mean, bins.grid.tile), v_features], -1)

    _, sums = walk_tiles(step, bins, table, inputs, start, table.shape[1])
    return from_moments(sums, table[:, 2:5])


def _moments(
    v_slope: Float[Array, "B K P"], x: Float[Array, "B K"], y: Float[Array, "B K"], tile: int
) -> Float[Array, "B K 6"]:
    """Sum `cotangent_moments` over a tile, for means (x, y) relative to the first pixel of the tile.

    Moments about the center of the tile are one matrix product. Moving them to a mean cancels by at most the
    square of a tile over a footprint.
    """
    half, p = (tile - 1) / 2, jnp.arange(tile * tile)
    u, v, x, y = p % tile - half, p // tile - half, x - half, y - half
    basis = jnp.stack([jnp.ones_like(u), u, v, u * u, u * v, v * v], -1)
    one, u, v, uu, uv, vv = jnp.moveaxis(jnp.einsum("bkp,pm->bkm", v_slope, basis, precision="highest"), -1, 0)
    dx, dy = x * one - u, y * one - v
    return jnp.stack([one, dx, dy, x * (dx - u) + uu, x * dy - y * u + uv, y * (dy - v) + vv], -1)


def tangent(table: Float[Array, "N F"], saved: Float[Array, "0"], table_dot: Float[Array, "N F"], bins: Bins) -> Image:
    """Compute the tangent of the image for the tangent `table_dot` (log opacity in column 5)."""
    F = table.shape[1]

    def start(_: tuple, px: Array) -> tuple:
        return (jnp.ones_like(px), *[jnp.zeros_like(px)] * (F - FOOTPRINT_COLUMNS + 1))

    def step(columns: list, px: Array, py: Array, _: tuple, state: tuple) -> tuple[tuple, tuple]:
        splat, direction = splat_of(columns[:F]), splat_of(columns[F:])
        T, T_dot, out_dot = tangent_step(splat, direction, px, py, state[0], state[1], state[2:])
        return (T, T_dot, *out_dot), ()

    both = jnp.concatenate([table, table_dot], 1)
    no_inputs = jnp.zeros((bins.grid.num_tiles, 0, bins.grid.tile**2))
    state, _ = walk_tiles(one_by_one(step), bins, both, no_inputs, start)
    return from_tiles(jnp.concatenate([state[:, 2:], -state[:, 1:2]], 1), bins.grid)
