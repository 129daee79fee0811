"""Blend projected Gaussians into an image."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from kernels.bin_tiles.types import Bins, tile_grid
from kernels.common.implementation import choose
from kernels.rasterize import primitives, reference
from kernels.rasterize.config import RasterConfig


def rasterize(
    mean2d: Float[Array, "N 2"],
    conic: Float[Array, "N 3"],
    opacity: Float[Array, "N"],
    features: Float[Array, "N C"],
    bins: Bins,
    *,
    width: int,
    height: int,
    tile: int = 16,
    implementation: str | None = None,
    config: RasterConfig | None = None,
) -> tuple[Float[Array, "H W C"], Float[Array, "H W"]]:
    """Blend Gaussians front to back: out = sum_i w_i f_i and alpha = sum_i w_i.

    The op is equivalent to, in every pixel and with i running front to back:

        sigma_i = (a_i dx^2 + c_i dy^2) / 2 + b_i dx dy
        alpha_i = min(0.999, opacity_i exp(-sigma_i)), or 0 if that is under 1/255
        T_i = prod_{j<i} (1 - alpha_j);  w_i = alpha_i T_i

    There is no background in it: add (1 - alpha) * background. Depth, normals and the like are feature
    channels. The walk stops where T < 1e-4 in all pixels of a tile; nothing is dropped before that.
    Differentiable in the four arrays by every jax transformation in both modes, once: second derivatives
    raise NotImplementedError (the reference has them). Results are bitwise reproducible. A Gaussian with a
    NaN leaves every pixel alone if its conic, mean or opacity holds it; finite features are the caller's duty
    (see `check_inputs`).

    Args:
        mean2d: px.
        conic: inverse 2-D covariance (a, b, c), 1/px^2.
        opacity: [0, 1); 0 means culled.
        features: any number of channels.
        bins: tile lists of the same Gaussians, image and `tile`, from `kernels.bin_tiles.bin_tiles`.
        width: image width, pixels.
        height: image height, pixels.
        tile: side of a tile, pixels.
        implementation: None, "reference" (dense, small scenes), "xla", "pallas" (interpreted on a CPU), "mosaic" (GPU).
        config: block sizes of the Pallas kernels; None takes those measured on the device, if any were.

    Raises:
        ValueError: for an unknown implementation, or if `bins` was made for another image, tile or set of
            Gaussians.
    """
    name = choose(implementation)
    columns, rows = tile_grid(width, height, tile)
    if bins.tile_starts.shape[0] != rows * columns + 1:
        raise ValueError(
            f"bins hold {bins.tile_starts.shape[0] - 1} tiles but {width=}, {height=}, {tile=} make "
            f"{rows * columns}: give bin_tiles and rasterize the same numbers"
        )
    if name == "mosaic" and tile * tile % 128:
        raise ValueError(f"{tile=}: the kernels of 'mosaic' hold 128 pixels at a time: use a tile of 16 or 32")
    if bins.order.shape[0] != mean2d.shape[0]:
        raise ValueError(f"bins were made for {bins.order.shape[0]} Gaussians, not for {mean2d.shape[0]}")
    if mean2d.shape[0] == 0:
        return jnp.zeros((height, width, features.shape[1])), jnp.zeros((height, width))
    table = jnp.concatenate([mean2d, conic, opacity[:, None], features], -1)
    if name == "reference":
        image = reference.forward(table, bins, width=width, height=height)
    else:
        size = {"width": width, "height": height, "tile": tile}
        image, _ = primitives.forward(table, bins, **size, implementation=name, config=config)
    return image[..., :-1], image[..., -1]


def check_inputs(**arrays: Array | np.ndarray) -> None:
    """Raise if an array holds a NaN or an infinity (for use outside jit, on what is about to be rasterized).

    Raises:
        ValueError: naming the first such argument and row.
    """
    for name, array in arrays.items():
        bad = np.argwhere(~np.isfinite(np.asarray(array)))
        if len(bad):
            raise ValueError(
                f"{name} has {len(bad)} values that are not finite, the first at index "
                f"{tuple(bad[0].tolist())}: remove those Gaussians or find out what made them"
            )
