"""Bilinear resizing as detection and segmentation networks were trained on it: no antialiasing."""

import numpy as np
from jaxtyping import Float, Float32, Int


def resize_bilinear(image: Float[np.ndarray, "H W *c"], height: int, width: int) -> Float32[np.ndarray, "h w *c"]:
    """Return `image` sampled at the pixel centres of a `height` x `width` image, bilinearly.

    Pixel centres are at .5, samples beyond the outermost centres take the edge colour, and nothing is averaged when
    the image shrinks. That is OpenCV's INTER_LINEAR (which also rounds 8-bit images to integers) and
    `jax.image.resize(..., "linear", antialias=False)`. It aliases: for pictures meant to be looked at or compared,
    use `ff_jax.data.loader.resize_area`.

    Args:
        image: any float type; an image or a map without channels.
        height: of the result, pixels.
        width: of the result, pixels.

    Raises:
        ValueError: the image or the result has no pixel.
    """
    if min(height, width, *image.shape[:2]) < 1:
        raise ValueError(f"cannot resize {image.shape[:2]} to {(height, width)}: give sizes of at least one pixel.")
    image = image.astype(np.float32, copy=False)
    return _along(_along(image, 0, height), 1, width)


def _along(image: Float32[np.ndarray, "H W *c"], axis: int, size: int) -> Float32[np.ndarray, "h w *c"]:
    if image.shape[axis] == size:
        return image
    low, high, share = _taps(image.shape[axis], size)
    share = share.reshape([-1 if i == axis else 1 for i in range(image.ndim)])
    return np.take(image, low, axis) * (1 - share) + np.take(image, high, axis) * share


def _taps(old: int, new: int) -> tuple[Int[np.ndarray, "new"], Int[np.ndarray, "new"], Float32[np.ndarray, "new"]]:
    """Return the two neighbours of every sample along one axis and the weight of the second."""
    at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = np.minimum(at.astype(int), max(old - 2, 0))
    return low, np.minimum(low + 1, old - 1), (at - low).astype(np.float32)
