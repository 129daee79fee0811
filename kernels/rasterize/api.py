"""Blend projected Gaussians into an image."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from kernels.bin_tiles.types import Bins
from kernels.common.implementation import choose_implementation
from kernels.project.types import Projected
from kernels.rasterize import primitives, reference
from kernels.rasterize.alpha_blending import splat_table
from kernels.rasterize.config import RasterConfig


def rasterize(
    projected: Projected,
    features: Float[Array, "N C"],
    bins: Bins,
    *,
    implementation: str | None = None,
    config: RasterConfig | None = None,
) -> tuple[Float[Array, "H W C"], Float[Array, "H W"]]:
    """Blend Gaussians front to back: out = sum_i w_i f_i and alpha = sum_i w_i.

    The op is equivalent to, in every pixel and with i running front to back:

        sigma_i = (a_i dx^2 + c_i dy^2) / 2 + b_i dx dy
        alpha_i = min(0.999, opacity_i exp(-sigma_i)), or 0 if that is under 1/255
        T_i = prod_{j<i} (1 - alpha_j);  w_i = alpha_i T_i

    There is no background in it: add (1 - alpha) * background. Depth, normals and the like are feature
    channels. Blending stops where T < 1e-4 in all pixels of a tile; nothing is dropped before that.
    Differentiable in mean2d, conic, opacity and features by every jax transformation in both modes, once: second
    derivatives raise NotImplementedError (the reference has them). Results are bitwise reproducible. A Gaussian whose
    conic, mean or opacity is NaN changes no pixel; features must be finite (see `check_finite`).

    Args:
        projected: N Gaussians; opacity 0 means culled. Depth, extent and color are not read.
        features: any number of channels.
        bins: tile lists of the same Gaussians, from `kernels.bin_tiles`; they hold the image size.
        implementation: None, "reference" (dense, small scenes), "xla", "pallas" (interpreted on a CPU), "mosaic" (GPU).
        config: block sizes of the Pallas kernels; None takes those measured on the device, if any were.

    Raises:
        ValueError: for an unknown implementation, a tile that "mosaic" cannot hold, or `bins` of another number of
            Gaussians.
    """
    name = choose_implementation(implementation)
    grid, N = bins.grid, projected.depth.shape[0]
    if name == "mosaic" and grid.tile * grid.tile % 128:
        raise ValueError(f"invalid tile={grid.tile}: expected 16 or 32 with implementation='mosaic'")
    if bins.order.shape[0] != N:
        raise ValueError(f"bins list {bins.order.shape[0]} Gaussians, but projected has {N}: bin these Gaussians")
    if N == 0:
        return jnp.zeros((grid.height, grid.width, features.shape[1])), jnp.zeros((grid.height, grid.width))
    table = splat_table(projected, features)
    if name == "reference":
        image = reference.forward(table, bins)
    else:
        image, _ = primitives.forward(table, bins, implementation=name, config=config)
    return image[..., :-1], image[..., -1]


def check_finite(**arrays: Array | np.ndarray) -> None:
    """Raise if an array has a NaN or an infinity (for use outside jit, on the inputs of `rasterize`).

    Raises:
        ValueError: naming the first such argument and row.
    """
    for name, array in arrays.items():
        bad = np.argwhere(~np.isfinite(np.asarray(array)))
        if len(bad):
            raise ValueError(
                f"{name} has {len(bad)} values that are not finite, the first at index {tuple(bad[0].tolist())}: "
                f"remove those Gaussians"
            )
