"""Tile lists: the Gaussians that touch each tile, front to back."""

from kernels.bin_tiles.api import bin_tiles

__all__ = ["bin_tiles"]
