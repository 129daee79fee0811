"""Run a network over images larger than it can see: overlapping tiles, blended smoothly."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, PyTree


def tiled(
    function: Callable[[PyTree], Float[Array, "T h w C"]], inputs: PyTree, tile: tuple[int, int], overlap: int
) -> Float[Array, "T H W C"]:
    """Return `function(inputs)` computed from tiles; if one tile holds the image, exactly that.

    A tile of an image sees the same tile of every other input. Where tiles overlap, their results are averaged with
    weights that fall to about 0 at the rim of a tile. The tiles are worked off one after the other, compiled once.

    Args:
        function: from inputs of one tile to its result, of the same height and width.
        inputs: arrays (T, H, W, ...) of the same height and width.
        tile: height and width of a tile, pixels; a side that is larger than the image's is cut to it.
        overlap: least overlap of neighbours, pixels, above 0 and below both sides of `tile`.
    """
    height, width = jax.tree.leaves(inputs)[0].shape[1:3]
    size = min(tile[0], height), min(tile[1], width)
    if size == (height, width):
        return function(inputs)
    places = jnp.array([(y, x) for y in starts(height, size[0], overlap) for x in starts(width, size[1], overlap)])
    weight = jnp.asarray(np.outer(window(size[0], overlap), window(size[1], overlap)), jnp.float32)[None, ..., None]

    def cut(array: Array, place: Array) -> Array:
        at = (0, place[0], place[1], *[0] * (array.ndim - 3))
        return lax.dynamic_slice(array, at, (array.shape[0], *size, *array.shape[3:]))

    def add(sums: tuple[Array, Array], place: Array) -> tuple[tuple[Array, Array], None]:
        piece = function(jax.tree.map(lambda array: cut(array, place), inputs))
        change = weight * piece, weight
        paste = lambda total, new: lax.dynamic_update_slice(total, _part(total, place, size) + new, (0, *place, 0))
        return tuple(map(paste, sums, change)), None

    out = jax.eval_shape(function, jax.tree.map(lambda array: cut(array, places[0]), inputs))
    zeros = jnp.zeros((out.shape[0], height, width, out.shape[3])), jnp.zeros((1, height, width, 1))
    (total, weights), _ = lax.scan(add, zeros, places)
    return total / weights


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Return where tiles start so that they cover `length` evenly, neighbours sharing `overlap` pixels or more."""
    count = max(-(-(length - overlap) // (tile - overlap)), 1)
    return [round(index * (length - tile) / max(count - 1, 1)) for index in range(count)]


def window(tile: int, overlap: int) -> Float[np.ndarray, "tile"]:
    """Return positive weights along a side: 1 inside, a sine-squared ramp over `overlap` pixels at both ends."""
    rim = np.minimum(np.arange(tile) + 0.5, np.arange(tile)[::-1] + 0.5) / overlap
    return np.sin(0.5 * np.pi * np.minimum(rim, 1.0)) ** 2


def _part(array: Float[Array, "T H W C"], place: Array, size: tuple[int, int]) -> Float[Array, "T h w C"]:
    return lax.dynamic_slice(array, (0, *place, 0), (array.shape[0], *size, array.shape[3]))
