"""Resize images bilinearly without antialiasing, as detection and segmentation networks expect."""

import numpy as np
from jaxtyping import Float, Float32, Int


def resize_bilinear(image: Float[np.ndarray, "H W *c"], height: int, width: int) -> Float32[np.ndarray, "h w *c"]:
    """Sample `image` bilinearly at the pixel centers of a `height` x `width` image.

    Pixel centers are at .5, samples beyond the outermost centers take the edge color, and nothing is averaged when
    the image shrinks, as in OpenCV's INTER_LINEAR (which also rounds 8-bit images to integers) and
    `jax.image.resize(..., "linear", antialias=False)`. The result aliases: use `ff_jax.data.loader.resize_area` for
    images that are compared or looked at.

    Args:
        image: any float type; with or without channels.
        height: of the result, pixels.
        width: of the result, pixels.

    Raises:
        ValueError: the image or the result has no pixel.
    """
    if min(height, width, *image.shape[:2]) < 1:
        raise ValueError(f"cannot resize {image.shape[:2]} to {(height, width)}: give sizes of at least one pixel.")
    image = image.astype(np.float32, copy=False)
    return _resize_axis(_resize_axis(image, 0, height), 1, width)


def _resize_axis(image: Float32[np.ndarray, "H W *c"], axis: int, size: int) -> Float32[np.ndarray, "h w *c"]:
    if image.shape[axis] == size:
        return image
    low, high, weight = _taps(image.shape[axis], size)
    weight = weight.reshape([-1 if i == axis else 1 for i in range(image.ndim)])
    return np.take(image, low, axis) * (1 - weight) + np.take(image, high, axis) * weight


def _taps(old: int, new: int) -> tuple[Int[np.ndarray, "new"], Int[np.ndarray, "new"], Float32[np.ndarray, "new"]]:
    """Compute the two neighbors of every sample along one axis and the weight of the second."""
    position = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = np.minimum(position.astype(int), max(old - 2, 0))
    return low, np.minimum(low + 1, old - 1), (position - low).astype(np.float32)
