"""Run a network over images larger than it accepts: overlapping tiles of one size, blended where they overlap.

`map_tiles` loops in Python over calls of a function whose output may have another resolution (video autoencoders).
`scan_tiles` is one compiled loop over several aligned inputs (image networks). If one tile holds the image, both return
exactly the function's result.
"""

from collections.abc import Callable
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, Int, PyTree


def map_tiles(
    function: Callable[[Array], Array],
    x: Float[Array, "B T H W C"],
    tile: tuple[int, int],
    overlap: tuple[int, int],
    cell: int = 1,
) -> Float[Array, "B t h w c"]:
    """Compute `function(x)` tile by tile; the weights fall linearly over the overlap of neighbors.

    All tiles have one size, so a jitted function is compiled once.

    Args:
        function: from videos to videos; scales height and width by a constant (8, 1/8, ...).
        x: videos.
        tile: height and width of a tile, in cells.
        overlap: smallest overlap of neighbors along y and x, in cells; positive.
        cell: pixels of x along each side that make one or more whole pixels of the result.
    """
    size = [side // cell for side in x.shape[2:4]]
    rows, columns = (tile_starts(*sides) for sides in zip(size, tile, overlap, strict=True))
    if len(rows) == len(columns) == 1:
        return function(x)
    height, width = (min(sides) for sides in zip(size, tile, strict=True))

    def run(row: int, column: int) -> Float[Array, "B t h w c"]:
        y, x0 = row * cell, column * cell
        return function(x[:, :, y : y + height * cell, x0 : x0 + width * cell])

    out = run(rows[0], columns[0])
    scale = out.shape[2] // height  # pixels of the result per cell
    full = [side * scale for side in size]
    sums, weights = jnp.zeros((*out.shape[:2], *full, out.shape[-1]), out.dtype), np.zeros((*full, 1))
    for row, column in product(rows, columns):
        out = run(row, column) if row or column else out
        weight = np.outer(linear_ramp(row, rows, height, scale), linear_ramp(column, columns, width, scale))[..., None]
        place = np.s_[row * scale : (row + height) * scale, column * scale : (column + width) * scale]
        sums = sums.at[:, :, *place].add(out * jnp.asarray(weight, out.dtype))
        weights[place] += weight
    return sums / jnp.asarray(weights, sums.dtype)


def scan_tiles(
    function: Callable[[PyTree], Float[Array, "T h w C"]], inputs: PyTree, tile: tuple[int, int], overlap: int
) -> Float[Array, "T H W C"]:
    """Compute `function(inputs)` from tiles, one after the other in one compiled loop.

    A tile covers the same pixels of every input. Where tiles overlap, their results are averaged with weights that fall
    to about 0 at the edge of a tile.

    Args:
        function: from the inputs of one tile to its result, of the same height and width.
        inputs: arrays (T, H, W, ...) of the same height and width.
        tile: height and width of a tile, pixels; cut to the image.
        overlap: smallest overlap of neighbors, pixels, above 0 and below both sides of `tile`.
    """
    height, width = jax.tree.leaves(inputs)[0].shape[1:3]
    size = min(tile[0], height), min(tile[1], width)
    if size == (height, width):
        return function(inputs)
    rows, columns = tile_starts(height, size[0], overlap), tile_starts(width, size[1], overlap)
    corners = jnp.array(list(product(rows, columns)))
    weight = jnp.asarray(np.outer(sine_window(size[0], overlap), sine_window(size[1], overlap)), jnp.float32)
    weight = weight[None, ..., None]

    def cut(array: Float[Array, "..."], corner: Int[Array, "2"]) -> Float[Array, "..."]:
        start = (0, corner[0], corner[1], *[0] * (array.ndim - 3))
        return lax.dynamic_slice(array, start, (array.shape[0], *size, *array.shape[3:]))

    def paste(total: Float[Array, "..."], change: Float[Array, "..."], corner: Int[Array, "2"]) -> Float[Array, "..."]:
        return lax.dynamic_update_slice(total, cut(total, corner) + change, (0, *corner, 0))

    def add_tile(sums: tuple[Array, Array], corner: Int[Array, "2"]) -> tuple[tuple[Array, Array], None]:
        piece = function(jax.tree.map(lambda array: cut(array, corner), inputs))
        return (paste(sums[0], weight * piece, corner), paste(sums[1], weight, corner)), None

    out = jax.eval_shape(function, jax.tree.map(lambda array: cut(array, corners[0]), inputs))
    zeros = jnp.zeros((out.shape[0], height, width, out.shape[3])), jnp.zeros((1, height, width, 1))
    (total, weights), _ = lax.scan(add_tile, zeros, corners)
    return total / weights


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """Place tiles evenly so that they cover `length` and neighbors share at least `overlap`; return their starts."""
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [round(index * (length - tile) / (count - 1)) for index in range(count)]


def linear_ramp(start: int, starts: list[int], tile: int, scale: int) -> Float[np.ndarray, "samples"]:
    """Compute the weights along one side of the tile at `start`: linear over the overlap with each neighbor.

    Args:
        start: of this tile, in cells.
        starts: of all tiles along this side, in order.
        tile: length of a tile, in cells.
        scale: weights per cell.
    """
    place = (np.arange(tile * scale) + 0.5) / scale
    weight, index = np.ones(tile * scale), starts.index(start)
    if index > 0:
        weight = np.minimum(weight, place / (starts[index - 1] + tile - start))
    if index < len(starts) - 1:
        weight = np.minimum(weight, (tile - place) / (start + tile - starts[index + 1]))
    return weight


def sine_window(tile: int, overlap: int) -> Float[np.ndarray, "tile"]:
    """Compute positive weights along one side: 1 inside, a sine-squared ramp over `overlap` pixels at both ends."""
    edge = np.minimum(np.arange(tile) + 0.5, np.arange(tile)[::-1] + 0.5) / overlap
    return np.sin(0.5 * np.pi * np.minimum(edge, 1.0)) ** 2
