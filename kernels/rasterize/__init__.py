"""Front-to-back alpha blending of projected Gaussians, tile by tile."""

from kernels.rasterize.api import rasterize

__all__ = ["rasterize"]
