"""Image metrics against a ground-truth picture: PSNR and SSIM, over all pixels or over a mask."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Bool, Float

from kernels.ssim import ssim as ssim_map


def masked_mean(values: Float[ArrayLike, "H W"], mask: Bool[ArrayLike, "H W"] | None = None) -> Float[Array, ""]:
    """Average `values` over the pixels where `mask` is true (all without one); NaN if there are none."""
    values = jnp.asarray(values)
    if mask is None:
        return values.mean()
    mask = jnp.asarray(mask)
    # where, not a product: a NaN outside the mask must not leak into the mean.
    return jnp.where(mask, values, 0.0).sum() / mask.sum()


def mse(
    a: Float[ArrayLike, "H W C"], b: Float[ArrayLike, "H W C"], mask: Bool[ArrayLike, "H W"] | None = None
) -> Float[Array, ""]:
    """Return the mean squared difference over channels and (masked) pixels."""
    return masked_mean(((jnp.asarray(a) - jnp.asarray(b)) ** 2).mean(-1), mask)


def psnr(
    a: Float[ArrayLike, "H W C"], b: Float[ArrayLike, "H W C"], mask: Bool[ArrayLike, "H W"] | None = None
) -> Float[Array, ""]:
    """Return the peak signal-to-noise ratio -10 log10(MSE), in dB, of colours with peak 1.

    The mean runs over channels and over the pixels where `mask` is true: a masked PSNR is that of the
    region, not of an image painted black outside it. Infinite for equal images, NaN for an empty mask.
    """
    return -10.0 * jnp.log10(mse(a, b, mask))


def ssim(
    a: Float[ArrayLike, "H W C"],
    b: Float[ArrayLike, "H W C"],
    mask: Bool[ArrayLike, "H W"] | None = None,
    *,
    window: str = "gaussian11",
) -> Float[Array, ""]:
    """Return the mean structural similarity, at most 1.

    Source: Wang et al. 2004, doi 10.1109/TIP.2003.819861, eq. 13.

    The map is that of `kernels.ssim` (zeros outside the image, as in 3D Gaussian splatting) and is averaged
    over the pixels where `mask` is true; the window of a pixel near the rim of the mask still looks across
    it.

    Args:
        a: Colours in [0, 1].
        b: Colours in [0, 1].
        mask: Pixels that count; all without one.
        window: "gaussian11" (11 x 11 taps, sigma 1.5) or "uniform7" (7 x 7 equal taps).
    """
    return masked_mean(ssim_map(jnp.asarray(a), jnp.asarray(b), window=window), mask)
