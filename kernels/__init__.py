"""Kernels of the renderer: a leaf library that imports jax, numpy and jaxtyping only.

This index has all that other packages use. One folder per op, with the same files in each: `api` (the public function),
`reference` (its specification in plain jnp), `xla` (the CPU and TPU form), `pallas_gpu` (the GPU kernels), `config`
(block sizes), `types` (records) and `specs` (problem sizes that tests and benchmarks share).

    projected = project(Gaussians3D(...), CameraMatrices(...), ProjectionOptions(width, height))
    bins = bin_tiles(projected, TileGrid(width, height), capacity=1 << 16)
    image, alpha = rasterize(projected, projected.color, bins)

The functions `project`, `bin_tiles`, `rasterize` and `ssim` hide the subpackages of the same names as attributes:
import from a subpackage by `from kernels.project import ...`.
"""

from kernels.bin_tiles.api import bin_tiles
from kernels.bin_tiles.config import default_tile
from kernels.bin_tiles.count import count_tiles
from kernels.bin_tiles.tile_spans import touched_tile_rows
from kernels.bin_tiles.types import Bins, TileGrid
from kernels.common.constants import ALPHA_MAX, ALPHA_MIN, T_STOP
from kernels.common.symmetric import pack_symmetric, unpack_symmetric
from kernels.fisher.api import eig_map, fisher_information
from kernels.fisher.types import Uncertainty, ViewGeometry
from kernels.project.api import project
from kernels.project.reference import keep_finite, splat_columns, view_directions
from kernels.project.spherical_harmonics import SH_BAND, sh_basis, sh_color
from kernels.project.types import CameraMatrices, Gaussians3D, Projected, ProjectionOptions
from kernels.rasterize.alpha_blending import alpha_gradient, alpha_of, alpha_slope, falloff
from kernels.rasterize.api import check_finite, rasterize
from kernels.rasterize.config import RasterConfig
from kernels.rasterize.tile_walk import from_tiles, one_by_one, to_tiles, walk_tiles
from kernels.ssim.api import ssim

__all__ = [
    "ALPHA_MAX",
    "ALPHA_MIN",
    "SH_BAND",
    "T_STOP",
    "Bins",
    "CameraMatrices",
    "Gaussians3D",
    "Projected",
    "ProjectionOptions",
    "RasterConfig",
    "TileGrid",
    "Uncertainty",
    "ViewGeometry",
    "alpha_gradient",
    "alpha_of",
    "alpha_slope",
    "bin_tiles",
    "check_finite",
    "count_tiles",
    "default_tile",
    "eig_map",
    "falloff",
    "fisher_information",
    "from_tiles",
    "keep_finite",
    "one_by_one",
    "pack_symmetric",
    "project",
    "rasterize",
    "sh_basis",
    "sh_color",
    "splat_columns",
    "ssim",
    "to_tiles",
    "touched_tile_rows",
    "unpack_symmetric",
    "view_directions",
    "walk_tiles",
]
