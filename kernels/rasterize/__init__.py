"""Front-to-back alpha blending of projected Gaussians, tile by tile."""

from kernels.bin_tiles.config import default_tile
from kernels.rasterize.api import check_inputs, rasterize

__all__ = ["check_inputs", "default_tile", "rasterize"]
