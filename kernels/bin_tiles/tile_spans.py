"""Which tiles of a tile row an ellipse touches, in closed form."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from kernels.rasterize.alpha_blending import ALPHA_MIN

Values = Float[Array, "..."]
SLACK = 1e-2  # px added on every side, so that rounding never loses a pixel of alpha just over ALPHA_MIN


def level_of(
    mean2d: Float[Array, "N 2"],
    conic: Float[Array, "N 3"],
    opacity: Float[Array, "N"],
    extent: Float[Array, "N 2"],
    depth: Float[Array, "N"],
) -> Float[Array, "N"]:
    """Return the sigma at which alpha falls to ALPHA_MIN; 0 for a culled Gaussian or one with a NaN."""
    finite = jnp.isfinite(jnp.sum(mean2d, -1) + jnp.sum(conic, -1) + depth)
    visible = finite & (opacity > ALPHA_MIN) & (jnp.min(extent, -1) > 0)
    return jnp.where(visible, jnp.log(jnp.where(visible, opacity, 1.0) / ALPHA_MIN), 0.0)


def first_and_last_row(
    mean_y: Float[Array, "*n"],
    extent_y: Float[Array, "*n"],
    level: Float[Array, "*n"],
    height: int,
    tile: int,
) -> tuple[Int[Array, "*n"], Int[Array, "*n"]]:
    """Return the first and last tile row with a pixel centre inside the box; last < first if none has."""
    first, last = _pixels(mean_y - extent_y, mean_y + extent_y, height)
    return first // tile, jnp.where((last >= first) & (level > 0), last // tile, first // tile - 1)


def rows_of(
    mean_y: Float[Array, "*n"],
    extent_y: Float[Array, "*n"],
    level: Float[Array, "*n"],
    height: int,
    tile: int,
    part: int | Int[Array, ""],
    parts: int,
) -> tuple[Int[Array, "*n"], Int[Array, "*n"]]:
    """Return the first tile row of a part that the box touches, and how many (every `parts`-th)."""
    first, last = first_and_last_row(mean_y, extent_y, level, height, tile)
    if parts > 1:
        first = first + (part - first) % parts
    return first, jnp.maximum((last - first) // parts + 1, 0)


def first_and_last_tile(
    mean2d: tuple[Values, Values],
    conic: tuple[Values, Values, Values],
    extent: tuple[Values, Values],
    level: Values,
    row: Int[Array, "..."],
    width: int,
    height: int,
    tile: int,
) -> tuple[Int[Array, "..."], Int[Array, "..."]]:
    """Return the first and last tile column that the ellipse sigma <= level touches within tile row `row`.

    At height dy over the centre the ellipse spans x = (-b dy +- sqrt(b^2 dy^2 - a (c dy^2 - 2 level))) / a.
    Its extreme x over a band of heights lies where the ellipse itself is extreme (at dy = -b x / c) or, if
    that is outside the band, at the nearer edge of the band.
    """
    a, b, c = conic
    low_pixel, high_pixel = row * tile, jnp.minimum((row + 1) * tile, height) - 1
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
    first, last = _pixels(left, right, width)
    touched = (last >= first) & (high >= low) & (level > 0)
    return first // tile, jnp.where(touched, last // tile, first // tile - 1)


def _pixels(
    left: Float[Array, "..."], right: Float[Array, "..."], size: int
) -> tuple[Int[Array, "..."], Int[Array, "..."]]:
    """Return the first and last pixel whose centre lies in [left, right] and in the image."""
    first = jnp.clip(jnp.ceil(left - SLACK - 0.5), 0, size)
    last = jnp.clip(jnp.floor(right + SLACK - 0.5), -1, size - 1)
    return first.astype(jnp.int32), last.astype(jnp.int32)
