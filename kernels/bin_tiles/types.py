"""The grid of tiles, and the tile lists that binning returns."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
from jax import Array
from jaxtyping import Int


@jax.tree_util.register_static
@dataclass(frozen=True)
class TileGrid:
    """Square tiles that cover an image, row-major (hashable; never traced).

    Attributes:
        width: of the image, pixels.
        height: of the image, pixels.
        tile: side of a tile, pixels.
    """

    width: int
    height: int
    tile: int = 16

    @property
    def columns(self) -> int:
        """Return the number of tile columns."""
        return -(-self.width // self.tile)

    @property
    def rows(self) -> int:
        """Return the number of tile rows."""
        return -(-self.height // self.tile)

    @property
    def num_tiles(self) -> int:
        """Return the number of tiles."""
        return self.columns * self.rows


class Bins(NamedTuple):
    """Tile lists of static capacity.

    Intersections are numbered twice: by *emission* (Gaussians front to back, tiles of one Gaussian in a row),
    where those of a Gaussian are contiguous, and by *list* (tiles in a row, front to back within a tile).
    Entries past `tile_starts[-1]` have no meaning.
    """

    ids: Int[Array, "capacity"]  # Gaussian index, in list order
    tile_starts: Int[Array, "tiles_and_end"]  # list range of every tile, row-major tiles
    emission: Int[Array, "capacity"]  # emission number, in list order
    order: Int[Array, "N"]  # Gaussian indices front to back, culled ones last
    first: Int[Array, "N"]  # emission range [first, last) of Gaussian order[k]
    last: Int[Array, "N"]
    num_intersections: Int[Array, ""]  # that exist; if more than the capacity, the hindmost were dropped
    grid: TileGrid

    @property
    def capacity(self) -> int:
        """Return the number of intersections that fit."""
        return self.ids.shape[0]

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Return all fields but the grid."""
        return self[:-1]
