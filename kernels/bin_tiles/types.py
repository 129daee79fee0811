"""What binning returns, and the grid of tiles."""

from typing import NamedTuple

from jax import Array
from jaxtyping import Int


class Bins(NamedTuple):
    """Tile lists of static capacity.

    Intersections are numbered twice: by *emission* (Gaussians front to back, tiles of one Gaussian in a row),
    where those of a Gaussian are contiguous, and by *list* (tiles in a row, front to back within a tile).
    Entries past `tile_starts[-1]` mean nothing.
    """

    ids: Int[Array, "capacity"]  # Gaussian index, in list order
    tile_starts: Int[Array, "tiles_and_end"]  # list range of every tile, row-major tiles
    emission: Int[Array, "capacity"]  # emission number, in list order
    order: Int[Array, "N"]  # Gaussian indices front to back, culled ones last
    first: Int[Array, "N"]  # emission range [first, last) of Gaussian order[k]
    last: Int[Array, "N"]
    needed: Int[Array, ""]  # intersections that exist; more than the capacity: the hindmost were dropped


def tile_grid(width: int, height: int, tile: int) -> tuple[int, int]:
    """Return the numbers of tile columns and rows that cover the image."""
    return -(-width // tile), -(-height // tile)
