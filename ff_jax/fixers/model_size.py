"""Fit frames of any size into the sizes that a network accepts: scaled with their aspect, then padded.

`resize` differs on purpose from `runtime.resize.resize_bilinear` (NumPy, no antialiasing, as detectors were trained)
and `data.loader.resize_area` (area averages of 8-bit images): it must be differentiable and must not alias.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def working_size(size: tuple[int, int], limit: tuple[int, int], enlarge: bool = False) -> tuple[int, int]:
    """Scale a size (height, width) into `limit`, with its aspect up to rounding.

    A smaller size is kept, or scaled until it meets `limit` along one side (`enlarge`).
    """
    scale = min(float("inf") if enlarge else 1.0, *(bound / side for bound, side in zip(limit, size, strict=True)))
    return max(round(scale * size[0]), 1), max(round(scale * size[1]), 1)


def resize(images: Float[Array, "T H W *c"], size: tuple[int, int]) -> Float[Array, "T h w *c"]:
    """Resize images to `size` (height, width) by linear interpolation, with antialiasing where they shrink."""
    if images.shape[1:3] == size:
        return images
    return jax.image.resize(images, (images.shape[0], *size, *images.shape[3:]), "bilinear")


def round_up(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Round both sides up to multiples of `stride`."""
    return size[0] + -size[0] % stride, size[1] + -size[1] % stride


def pad(images: Float[Array, "T H W *c"], size: tuple[int, int]) -> Float[Array, "T h w *c"]:
    """Pad images to `size` (height, width) by repeating the last row and column."""
    margins = [(0, target - side) for side, target in zip(images.shape[1:3], size, strict=True)]
    return jnp.pad(images, [(0, 0), *margins] + [(0, 0)] * (images.ndim - 3), "edge")
