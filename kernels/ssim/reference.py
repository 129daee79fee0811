"""Specification of the SSIM map: one dense two-dimensional convolution per local moment."""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

C1 = 0.01**2  # Wang et al. 2004: (K1 L)^2 and (K2 L)^2 with K1 = .01, K2 = .03, data range L = 1
C2 = 0.03**2


def window_taps(window: str) -> Float[np.ndarray, "k"]:
    """Build the odd, symmetric one-dimensional window called `window`; its taps sum to one.

    Raises:
        ValueError: if `window` is neither "gaussian11" (sigma 1.5) nor "uniform7".
    """
    if window == "gaussian11":
        taps = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    elif window == "uniform7":
        taps = np.ones(7)
    else:
        raise ValueError(f"invalid {window=}: expected 'gaussian11' or 'uniform7'")
    return (taps / taps.sum()).astype(np.float32)


def combine_moments(
    mean_a: Float[Array, "C H W"],
    mean_b: Float[Array, "C H W"],
    mean_squares: Float[Array, "C H W"],
    mean_product: Float[Array, "C H W"],
) -> Float[Array, "H W"]:
    """Compute SSIM averaged over channels from local means of a, b, a^2 + b^2 and a b.

    Wang et al. 2004, eq. 13; only the sum of both variances enters, so four means suffice instead of five.
    """
    product = mean_a * mean_b
    squares = mean_a**2 + mean_b**2
    luminance = (2 * product + C1) / (squares + C1)
    structure = (2 * (mean_product - product) + C2) / (mean_squares - squares + C2)
    return (luminance * structure).mean(0)


def ssim_reference(
    a: Float[Array, "H W C"], b: Float[Array, "H W C"], taps: Float[np.ndarray, "k"]
) -> Float[Array, "H W"]:
    """Compute the SSIM map with the outer product of `taps` as the window and zeros outside the image."""

    def blur(image: Float[Array, "C H W"]) -> Float[Array, "C H W"]:
        kernel = jnp.asarray(np.outer(taps, taps))[None, None]
        return lax.conv_general_dilated(image[:, None], kernel, (1, 1), "SAME", precision="highest")[:, 0]

    a, b = jnp.moveaxis(a, -1, 0), jnp.moveaxis(b, -1, 0)
    return combine_moments(blur(a), blur(b), blur(a * a + b * b), blur(a * b))
