"""Positions of tokens in the video: rotary (Su et al. 2021, arXiv 2104.09864) and added ones, over (t, y, x).

Tokens are in the order (t, y, x), x fastest. Positions depend on shapes alone: they are computed by NumPy in float64.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

_THETA = 10000.0


class RotaryAngles(NamedTuple):
    """Rotations of the pairs of channels of every token."""

    cos: Array  # (N, head_dim / 2), float32
    sin: Array  # (N, head_dim / 2), float32


def rotary_angles(grid: tuple[int, int, int], base: tuple[int, int] | None, head_dim: int) -> RotaryAngles:
    """Compute the rotations of N = t y x tokens.

    A quarter of the channels rotates with t, three eighths with y, the rest with x. A grid of another size than the one
    that the network was trained on is scaled to fit into that one, centered.

    Args:
        grid: tokens along t, y and x.
        base: tokens along y and x that the network was trained on; None keeps every grid: tokens rotate by their own
            indices 0, 1, 2, ...
        head_dim: channels of a head, a multiple of 16.
    """
    dims = (head_dim // 4, head_dim // 8 * 3, head_dim // 8 * 3)
    spans = ((0, grid[0]), *([(0, size) for size in grid[1:]] if base is None else _fit(grid[1:], base)))
    angles = []
    for axis, (size, (start, stop), dim) in enumerate(zip(grid, spans, dims, strict=True)):
        # The published network's spacing: it ends one of `stop`'s steps before `stop`, wherever it starts.
        phase = np.outer(np.linspace(start, stop * (size - 1) / size, size), _frequencies(dim // 2))
        phase = phase.reshape([size if other == axis else 1 for other in range(3)] + [-1])
        angles.append(np.broadcast_to(phase, (*grid, dim // 2)))
    joined = np.concatenate(angles, -1).reshape(-1, sum(dims) // 2)
    return RotaryAngles(jnp.asarray(np.cos(joined), jnp.float32), jnp.asarray(np.sin(joined), jnp.float32))


def prepend_identity(angles: RotaryAngles, count: int) -> RotaryAngles:
    """Put `count` tokens that do not rotate before the others."""
    one = jnp.ones((count, angles.cos.shape[1]))
    return RotaryAngles(jnp.concatenate([one, angles.cos]), jnp.concatenate([0 * one, angles.sin]))


def rotate(x: Float[Array, "B N heads c"], angles: RotaryAngles) -> Float[Array, "B N heads c"]:
    """Rotate channels (2k, 2k + 1) of every token by its angle k; computed in float32, returned in x's dtype."""
    cos, sin = angles.cos[:, None], angles.sin[:, None]
    even, odd = x[..., ::2].astype(jnp.float32), x[..., 1::2].astype(jnp.float32)
    return jnp.stack([even * cos - odd * sin, even * sin + odd * cos], -1).reshape(x.shape).astype(x.dtype)


def add_sincos(
    tokens: Float[Array, "B N width"], grid: tuple[int, int, int], spatial_scale: float
) -> Float[Array, "B N width"]:
    """Add sines and cosines: of t to the first quarter of the channels, of x to the next three eighths, then of y.

    Args:
        tokens: to add to.
        grid: tokens along t, y and x; N of them.
        spatial_scale: divisor of y and x.
    """
    t, y, x = grid
    video, quarter, middle = tokens.reshape(-1, *grid, tokens.shape[-1]), tokens.shape[-1] // 4, tokens.shape[-1] // 8
    # Channel by channel: one array of all positions would be a constant of 135 MB at the published size.
    parts = jnp.split(video, (quarter, quarter + 3 * middle), -1)
    t_waves = _waves(np.arange(t), quarter)[:, None, None]
    y_waves, x_waves = (_waves(np.arange(size) / spatial_scale, 3 * middle) for size in (y, x))
    added = (t_waves, x_waves, y_waves[:, None])
    joined = [part + jnp.asarray(waves, part.dtype) for part, waves in zip(parts, added, strict=True)]
    return jnp.concatenate(joined, -1).reshape(tokens.shape)


def _waves(positions: np.ndarray, channels: int) -> np.ndarray:
    angles = np.outer(positions, _frequencies(channels // 2))
    return np.concatenate([np.sin(angles), np.cos(angles)], -1)


def _frequencies(count: int) -> np.ndarray:
    return _THETA ** (-np.arange(count) / count)


def _fit(size: tuple[int, int], base: tuple[int, int]) -> list[tuple[int, int]]:
    """Compute start and stop along y and x, in tokens of `base`, of a grid scaled to fit into it, centered."""
    scale = min(limit / side for limit, side in zip(base, size, strict=True))
    scaled = [round(side * scale) for side in size]
    starts = [round((limit - side) / 2) for limit, side in zip(base, scaled, strict=True)]
    return [(start, start + side) for start, side in zip(starts, scaled, strict=True)]
