"""Compare images with ground truth: PSNR and SSIM, over all pixels or over a mask."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Bool, Float, Shaped

from kernels import ssim as ssim_map


def masked_mean(values: Float[ArrayLike, "H W"], mask: Bool[ArrayLike, "H W"] | None = None) -> Float[Array, ""]:
    """Average `values` over the pixels where `mask` is true (all without one); NaN for an empty mask."""
    values = jnp.asarray(values)
    if mask is None:
        return values.mean()
    mask = jnp.asarray(mask)
    # where, not a product: a NaN outside the mask must not leak into the mean.
    return jnp.where(mask, values, 0.0).sum() / mask.sum()


def as_colors(image: Shaped[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Convert an image to colors in [0, 1]: bytes are divided by 255, other integers are refused.

    Raises:
        ValueError: the image has integers of more than 8 bits, whose scale is unknown.
    """
    image = jnp.asarray(image)
    if image.dtype == jnp.uint8:
        return image.astype(jnp.float32) / 255
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"invalid image of {image.dtype}: expected colors in [0, 1], or uint8.")
    return image


def mse(
    a: Shaped[ArrayLike, "H W C"], b: Shaped[ArrayLike, "H W C"], mask: Bool[ArrayLike, "H W"] | None = None
) -> Float[Array, ""]:
    """Compute the mean squared difference of colors in [0, 1] (or uint8) over channels and (masked) pixels."""
    return masked_mean(((as_colors(a) - as_colors(b)) ** 2).mean(-1), mask)


def psnr(
    a: Shaped[ArrayLike, "H W C"], b: Shaped[ArrayLike, "H W C"], mask: Bool[ArrayLike, "H W"] | None = None
) -> Float[Array, ""]:
    """Compute the peak signal-to-noise ratio -10 log10(MSE), in dB, of colors with peak 1 (or uint8).

    The mean runs over channels and over the pixels where `mask` is true. The result is infinite for equal images and
    NaN for an empty mask.
    """
    return -10.0 * jnp.log10(mse(a, b, mask))


def ssim(
    a: Shaped[ArrayLike, "H W C"],
    b: Shaped[ArrayLike, "H W C"],
    mask: Bool[ArrayLike, "H W"] | None = None,
    *,
    window: str = "gaussian11",
) -> Float[Array, ""]:
    """Compute the mean structural similarity, at most 1.

    Source: Wang et al. 2004, doi 10.1109/TIP.2003.819861, eq. 13.

    The map of `kernels.ssim` (zeros outside the image, as in 3D Gaussian splatting) is averaged over the pixels where
    `mask` is true; windows near its edge extend beyond it.

    Args:
        a: colors in [0, 1], or uint8.
        b: colors in [0, 1], or uint8.
        mask: pixels that count; all without one.
        window: "gaussian11" (11 x 11 taps, sigma 1.5) or "uniform7" (7 x 7 equal taps).
    """
    return masked_mean(ssim_map(as_colors(a), as_colors(b), window=window), mask)
