"""Separable SSIM map in plain XLA operations; forward and reverse mode come from JAX.

The blur has two forms with one meaning, selected by the platform of the lowering. CPU: products with
banded matrices, because XLA's depthwise convolutions there are an order of magnitude slower and fused shifted
adds do not vectorize in the backward pass. Elsewhere: shifted adds, which fuse into one bandwidth-bound pass.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from kernels.ssim.reference import combine_moments

BLOCK = 256  # outputs per banded product: its cost per pixel grows with the block, its overhead with their number


def blur_shifted(images: Float[Array, "C H W"], taps: Float[np.ndarray, "k"]) -> Float[Array, "C H W"]:
    """Blur both image axes with `taps` by adding shifted copies; zeros outside the image."""
    half = len(taps) // 2
    for axis in (2, 1):
        size = images.shape[axis]
        padding = [(half, half) if i == axis else (0, 0) for i in range(3)]
        padded = jnp.pad(images, padding)
        shifted = [lax.slice_in_dim(padded, k, k + size, axis=axis) for k in range(len(taps))]
        images = jnp.asarray(sum(tap * image for tap, image in zip(taps, shifted, strict=True)))
    return images


def blur_banded(images: Float[Array, "C H W"], taps: Float[np.ndarray, "k"]) -> Float[Array, "C H W"]:
    """Blur both image axes with `taps` by products with banded matrices; zeros outside the image."""
    for axis, contraction in ((2, "chw,wk->chk"), (1, "chw,hk->ckw")):
        size = images.shape[axis]
        blocks = []
        for start in range(0, size, BLOCK):
            stop = min(start + BLOCK, size)
            first, last = max(start - len(taps) // 2, 0), min(stop + len(taps) // 2, size)
            part = lax.slice_in_dim(images, first, last, axis=axis)
            band = _band(first, last, start, stop, taps)
            blocks.append(jnp.einsum(contraction, part, band, precision="highest"))
        images = jnp.concatenate(blocks, axis)
    return images


def _band(first: int, last: int, start: int, stop: int, taps: Float[np.ndarray, "k"]) -> Float[np.ndarray, "n m"]:
    """Build the matrix that maps inputs first..last to blurred outputs start..stop."""
    half = len(taps) // 2
    offset = np.arange(first, last)[:, None] - np.arange(start, stop)[None]
    return np.where(abs(offset) <= half, taps[np.clip(offset + half, 0, 2 * half)], 0).astype(taps.dtype)


def ssim_xla(a: Float[Array, "H W C"], b: Float[Array, "H W C"], taps: Float[np.ndarray, "k"]) -> Float[Array, "H W"]:
    """Compute the SSIM map of `ssim_reference` with one separable blur of all moments."""
    a, b = jnp.moveaxis(a, -1, 0), jnp.moveaxis(b, -1, 0)
    moments = jnp.concatenate([a, b, a * a + b * b, a * b])
    blurred = lax.platform_dependent(
        moments, cpu=lambda x: blur_banded(x, taps), default=lambda x: blur_shifted(x, taps)
    )
    return combine_moments(*jnp.split(blurred, 4))
