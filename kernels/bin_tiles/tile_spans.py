"""Tiles of a tile row that an ellipse touches, in closed form."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from kernels.bin_tiles.types import TileGrid
from kernels.common.constants import ALPHA_MIN
from kernels.project.types import Projected, Values

ELLIPSE_COLUMNS = 8
SLACK = 1e-2  # px added on every side, so that rounding never loses a pixel of alpha just over ALPHA_MIN


class Ellipse(NamedTuple):
    """The ellipse sigma <= level outside which alpha < ALPHA_MIN, as scalars or columns."""

    mean2d: tuple[Values, Values]  # px
    conic: tuple[Values, Values, Values]  # 1/px^2
    extent: tuple[Values, Values]  # px
    level: Values  # 0 for a culled Gaussian


def ellipse_table(projected: Projected, level: Float[Array, "N"]) -> Float[Array, "N 8"]:
    """Concatenate the columns of the ellipses of all Gaussians."""
    return jnp.concatenate([projected.mean2d, projected.conic, projected.extent, level[:, None]], -1)


def ellipse_of(columns: Sequence[Values]) -> Ellipse:
    """Group the columns of `ellipse_table`."""
    x, y, a, b, c, half_x, half_y, level = columns
    return Ellipse((x, y), (a, b, c), (half_x, half_y), level)


def level_of(projected: Projected) -> Float[Array, "N"]:
    """Compute the sigma at which alpha falls to ALPHA_MIN; 0 for a culled Gaussian or one with a NaN."""
    mean2d, conic, opacity, depth, extent, _ = projected
    finite = jnp.isfinite(jnp.sum(mean2d, -1) + jnp.sum(conic, -1) + depth)
    visible = finite & (opacity > ALPHA_MIN) & (jnp.min(extent, -1) > 0)
    return jnp.where(visible, jnp.log(jnp.where(visible, opacity, 1.0) / ALPHA_MIN), 0.0)


def touched_tile_rows(projected: Projected, height: int, tile: int) -> tuple[Int[Array, "N"], Int[Array, "N"]]:
    """Compute the first and last tile row that every Gaussian touches; last < first if it touches none.

    Args:
        projected: N Gaussians.
        height: of the image, pixels.
        tile: side of a tile, pixels.
    """
    return _first_and_last_row(projected.mean2d[:, 1], projected.extent[:, 1], level_of(projected), height, tile)


def _first_and_last_row(
    mean_y: Float[Array, "*n"], extent_y: Float[Array, "*n"], level: Float[Array, "*n"], height: int, tile: int
) -> tuple[Int[Array, "*n"], Int[Array, "*n"]]:
    """Compute the first and last tile row with a pixel center inside the box; last < first if none has."""
    first, last = _pixels(mean_y - extent_y, mean_y + extent_y, height)
    return first // tile, jnp.where((last >= first) & (level > 0), last // tile, first // tile - 1)


def row_span(
    ellipse: Ellipse, grid: TileGrid, part: int | Int[Array, ""], num_parts: int
) -> tuple[Int[Array, "*n"], Int[Array, "*n"]]:
    """Compute the first tile row of a part that the box touches, and the number of such rows (every `num_parts`-th)."""
    first, last = _first_and_last_row(ellipse.mean2d[1], ellipse.extent[1], ellipse.level, grid.height, grid.tile)
    if num_parts > 1:
        first = first + (part - first) % num_parts
    return first, jnp.maximum((last - first) // num_parts + 1, 0)


def first_and_last_tile(
    ellipse: Ellipse, row: Int[Array, "..."], grid: TileGrid
) -> tuple[Int[Array, "..."], Int[Array, "..."]]:
    """Compute the first and last tile column that the ellipse touches within tile row `row`.

    At height dy over the center the ellipse spans x = (-b dy +- sqrt(b^2 dy^2 - a (c dy^2 - 2 level))) / a.
    Its extreme x over a band of heights lies where the ellipse itself is extreme (at dy = -b x / c) or, if
    that is outside the band, at the nearer edge of the band.
    """
    mean2d, (a, b, c), extent, level = ellipse
    low_pixel, high_pixel = row * grid.tile, jnp.minimum((row + 1) * grid.tile, grid.height) - 1
    low = jnp.maximum(low_pixel + 0.5 - SLACK - mean2d[1], -extent[1])
    high = jnp.minimum(high_pixel + 0.5 + SLACK - mean2d[1], extent[1])
    half_width = extent[0]
    crest = jnp.where(c > 0, b / jnp.where(c > 0, c, 1.0), 0.0) * half_width  # height of the leftmost point

    def side(dy: Float[Array, "..."], sign: float) -> Float[Array, "..."]:
        dy = jnp.minimum(jnp.maximum(dy, low), high)
        # a c - b^2 > 0 keeps the root real inside the ellipse; rounding must not make it NaN.
        inside = jnp.maximum(2 * level * a - (a * c - b * b) * dy * dy, 0.0)
        return mean2d[0] + (sign * jnp.sqrt(inside) - b * dy) / a

    box_left, box_right = mean2d[0] - half_width, mean2d[0] + half_width
    left, right = jnp.maximum(side(crest, -1.0), box_left), jnp.minimum(side(-crest, 1.0), box_right)
    first, last = _pixels(left, right, grid.width)
    is_touched = (last >= first) & (high >= low) & (level > 0)
    return first // grid.tile, jnp.where(is_touched, last // grid.tile, first // grid.tile - 1)


def _pixels(
    left: Float[Array, "..."], right: Float[Array, "..."], size: int
) -> tuple[Int[Array, "..."], Int[Array, "..."]]:
    """Compute the first and last pixel whose center lies in [left, right] and in the image."""
    first = jnp.clip(jnp.ceil(left - SLACK - 0.5), 0, size)
    last = jnp.clip(jnp.floor(right + SLACK - 0.5), -1, size - 1)
    return first.astype(jnp.int32), last.astype(jnp.int32)
