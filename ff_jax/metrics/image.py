"""Compare images with ground truth: PSNR and SSIM, over all pixels or over a mask."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Bool, Float

from kernels import ssim as ssim_map


def masked_mean(values: Float[ArrayLike, "H W"], mask: Bool[ArrayLike, "H W"] | None = None) -> Float[Array, ""]:
    """Average `values` over the pixels where `mask` is true (all without one); NaN for an empty mask."""
    values = jnp.asarray(values)
    if mask is None:
        return values.mean()
    mask = jnp.asarray(mask)
    # where, not a product: a NaN outside the mask must not leak into the mean.
    return jnp.where(mask, values, 0.0).sum() / mask.sum()


def mse(
    a: Float[ArrayLike, "H W C"], b: Float[ArrayLike, "H W C"], mask: Bool[ArrayLike, "H W"] | None = None
) -> Float[Array, ""]:
    """Compute the mean squared difference over channels and (masked) pixels."""
    return masked_mean(((jnp.asarray(a) - jnp.asarray(b)) ** 2).mean(-1), mask)


def psnr(
    a: Float[ArrayLike, "H W C"], b: Float[ArrayLike, "H W C"], mask: Bool[ArrayLike, "H W"] | None = None
) -> Float[Array, ""]:
    """Compute the peak signal-to-noise ratio -10 log10(MSE), in dB, of colors with peak 1.

    The mean runs over channels and over the pixels where `mask` is true. The result is infinite for equal images and
    NaN for an empty mask.
    """
    return -10.0 * jnp.log10(mse(a, b, mask))


def ssim(
    a: Float[ArrayLike, "H W C"],
    b: Float[ArrayLike, "H W C"],
    mask: Bool[ArrayLike, "H W"] | None = None,
    *,
    window: str = "gaussian11",
) -> Float[Array, ""]:
    """Compute the mean structural similarity, at most 1.

    Source: Wang et al. 2004, doi 10.1109/TIP.2003.819861, eq. 13.

    The map of `kernels.ssim` (zeros outside the image, as in 3D Gaussian splatting) is averaged over the pixels where
    `mask` is true; windows near its edge extend beyond it.

    Args:
        a: colors in [0, 1].
        b: colors in [0, 1].
        mask: pixels that count; all without one.
        window: "gaussian11" (11 x 11 taps, sigma 1.5) or "uniform7" (7 x 7 equal taps).
    """
    return masked_mean(ssim_map(jnp.asarray(a), jnp.asarray(b), window=window), mask)
