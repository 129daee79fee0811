"""Rasterize, its tangent and its adjoint as walks in jnp (CPU, TPU, and any other XLA device)."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kernels.bin_tiles.types import Bins
from kernels.rasterize.blend import (
    GEOMETRY,
    adjoint_step,
    blend_step,
    from_moments,
    pull_moments,
    splat_of,
    tangent_step,
)
from kernels.rasterize.walk import from_tiles, to_tiles, walk_tiles

# Image: (H, W, C + 1), the alpha last
Image = Float[Array, "H W C_and_alpha"]


def saved_shape(capacity: int, channels: int, width: int, height: int, tile: int) -> tuple[int, ...]:
    """Return the shape of what `forward` saves for the other two walks: nothing."""
    return (0,)


def forward(
    table: Float[Array, "N F"], bins: Bins, *, width: int, height: int, tile: int
) -> tuple[Image, Float[Array, "0"]]:
    """Return the features with, last, the accumulated alpha; and what is saved."""
    channels = table.shape[1] - GEOMETRY

    def start(_: tuple, px: Array) -> tuple:
        return (jnp.ones_like(px), *[jnp.zeros_like(px)] * channels)

    def step(columns: list, px: Array, py: Array, _: tuple, state: tuple) -> tuple[tuple, tuple]:
        T, out = blend_step(splat_of(columns), px, py, state[0], state[1:])
        return (T, *out), ()

    none = jnp.zeros((bins.tile_starts.shape[0] - 1, 0, tile * tile))
    state, _ = walk_tiles(step, bins, table, none, start, width=width, height=height, tile=tile)
    image = from_tiles(jnp.concatenate([state[:, 1:], 1 - state[:, :1]], 1), width, height, tile)
    return image, jnp.zeros(0, table.dtype)


def adjoint(
    table: Float[Array, "N F"],
    image: Image,
    saved: Float[Array, "0"],
    v: Image,
    bins: Bins,
    *,
    width: int,
    height: int,
    tile: int,
) -> Float[Array, "N F"]:
    """Return the cotangent of the table (log opacity in column 5) for the cotangent `v` of the image."""
    total = jnp.sum(image * v, -1, keepdims=True)
    inputs = to_tiles(jnp.concatenate([total, v], -1), tile)

    def start(pixels: tuple, px: Array) -> tuple:
        return jnp.ones_like(px), pixels[0]

    def step(columns: list, px: Array, py: Array, pixels: tuple, state: tuple) -> tuple[tuple, tuple]:
        v_out = pixels[1:-1]
        T, behind, pull = adjoint_step(splat_of(columns), px, py, *state, v_out, pixels[-1])
        return (T, behind), (*pull_moments(pull), *(pull.weight * v for v in v_out))

    _, sums = walk_tiles(step, bins, table, inputs, start, table.shape[1], width=width, height=height, tile=tile)
    return from_moments(sums, table[:, 2:5])


def tangent(
    table: Float[Array, "N F"],
    saved: Float[Array, "0"],
    table_dot: Float[Array, "N F"],
    bins: Bins,
    *,
    width: int,
    height: int,
    tile: int,
) -> Image:
    """Return the tangent of the image for the tangent `table_dot` (log opacity in column 5)."""
    F = table.shape[1]

    def start(_: tuple, px: Array) -> tuple:
        return (jnp.ones_like(px), *[jnp.zeros_like(px)] * (F - GEOMETRY + 1))

    def step(columns: list, px: Array, py: Array, _: tuple, state: tuple) -> tuple[tuple, tuple]:
        splat, direction = splat_of(columns[:F]), splat_of(columns[F:])
        T, T_dot, out_dot = tangent_step(splat, direction, px, py, state[0], state[1], state[2:])
        return (T, T_dot, *out_dot), ()

    both = jnp.concatenate([table, table_dot], 1)
    none = jnp.zeros((bins.tile_starts.shape[0] - 1, 0, tile * tile))
    state, _ = walk_tiles(step, bins, both, none, start, width=width, height=height, tile=tile)
    return from_tiles(jnp.concatenate([state[:, 2:], -state[:, 1:2]], 1), width, height, tile)
