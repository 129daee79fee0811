"""Large images in tiles of one size that overlap and are blended where they do."""

from collections.abc import Callable
from itertools import product

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float


def map_tiles(
    function: Callable[[Array], Array],
    x: Float[Array, "B T H W C"],
    tile: tuple[int, int],
    overlap: tuple[int, int],
    cell: int = 1,
) -> Float[Array, "B t h w c"]:
    """Return `function(x)`, tile by tile.

    Where x fits into one tile, the result is exactly that of the function. Otherwise all tiles have the same size, so
    a jitted function is compiled once, and weights fall off linearly over what two neighbours share.

    Args:
        function: from videos to videos; scales height and width by a constant (8, 1/8, ...).
        x: videos.
        tile: height and width of a tile, in cells.
        overlap: what neighbours share at least along y and x, in cells; positive.
        cell: pixels of x, along y and x, that make one pixel of the result or several: tiles consist of whole ones.
    """
    size = [side // cell for side in x.shape[2:4]]
    rows, columns = (starts(*sides) for sides in zip(size, tile, overlap, strict=True))
    if len(rows) == len(columns) == 1:
        return function(x)
    height, width = (min(sides) for sides in zip(size, tile, strict=True))
    weighted, total = None, None
    for row, column in product(rows, columns):
        y, x0 = row * cell, column * cell
        out = function(x[:, :, y : y + height * cell, x0 : x0 + width * cell])
        each = out.shape[2] // height  # pixels of the result per cell
        if weighted is None:
            full = [side * each for side in size]
            weighted, total = jnp.zeros((*out.shape[:2], *full, out.shape[-1]), out.dtype), np.zeros((*full, 1))
        weight = np.outer(ramp(row, rows, height, each), ramp(column, columns, width, each))[..., None]
        place = np.s_[row * each : (row + height) * each, column * each : (column + width) * each]
        weighted = weighted.at[:, :, *place].add(out * jnp.asarray(weight, out.dtype))
        total[place] += weight
    return weighted / jnp.asarray(total, weighted.dtype)


def starts(size: int, tile: int, overlap: int) -> list[int]:
    """Return where tiles start so that they cover `size` and neighbours share at least `overlap`."""
    if size <= tile:
        return [0]
    count = -(-(size - overlap) // (tile - overlap))
    return [round(start) for start in np.linspace(0, size - tile, count)]


def ramp(start: int, starts: list[int], tile: int, each: int) -> Float[np.ndarray, "samples"]:
    """Return the weights along one side of the tile that begins at `start`.

    Args:
        start: of this tile, in cells.
        starts: of all tiles along this side, in order.
        tile: length of a tile, in cells.
        each: weights per cell.
    """
    place = (np.arange(tile * each) + 0.5) / each
    weight, index = np.ones(tile * each), starts.index(start)
    if index > 0:
        weight = np.minimum(weight, place / (starts[index - 1] + tile - start))
    if index < len(starts) - 1:
        weight = np.minimum(weight, (tile - place) / (start + tile - starts[index + 1]))
    return weight
