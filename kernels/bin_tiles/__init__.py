"""Tile lists: which Gaussians touch which tile, front to back."""

from kernels.bin_tiles.api import bin_tiles
from kernels.bin_tiles.config import default_tile
from kernels.bin_tiles.types import Bins, tile_grid

__all__ = ["Bins", "bin_tiles", "default_tile", "tile_grid"]
