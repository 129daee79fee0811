"""Public entry point of the SSIM kernel."""

from typing import Literal

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Num

from kernels.ssim.reference import ssim_reference, window_taps
from kernels.ssim.xla import ssim_xla


def ssim(
    a: Num[Array, "..."],
    b: Num[Array, "..."],
    *,
    window: str = "gaussian11",
    implementation: Literal["reference", "xla"] | None = None,
) -> Float[Array, "H W"]:
    """Compute the structural similarity of two images at every pixel, averaged over channels.

    With local means m, variances s^2 and covariance s_ab under a separable window, zeros outside the image:

        (2 m_a m_b + .01^2) (2 s_ab + .03^2) / ((m_a^2 + m_b^2 + .01^2) (s_a^2 + s_b^2 + .03^2))

    (Wang et al. 2004, doi 10.1109/TIP.2003.819861, eq. 13). The mean of the "gaussian11" map is the loss term
    of 3D Gaussian splatting. Differentiable in both modes in both images.

    Args:
        a: (H, W, C) colors in [0, 1].
        b: (H, W, C) colors in [0, 1].
        window: "gaussian11" (11 x 11 taps, sigma 1.5) or "uniform7" (7 x 7 equal taps).
        implementation: "reference" (dense convolution), "xla" (separable) or None (the fast one).

    Raises:
        ValueError: if the images differ in shape or are not (H, W, C) colors, or a name is unknown.
    """
    if a.ndim != 3 or a.shape != b.shape:
        raise ValueError(f"invalid shapes {a.shape} and {b.shape}: expected two images of one (H, W, C) shape")
    if not (jnp.issubdtype(a.dtype, jnp.floating) and jnp.issubdtype(b.dtype, jnp.floating)):
        raise ValueError(f"invalid images of {a.dtype} and {b.dtype}: expected colors in [0, 1]")
    taps = window_taps(window)
    if implementation == "reference":
        return ssim_reference(a, b, taps)
    if implementation in (None, "xla"):
        return ssim_xla(a, b, taps)
    raise ValueError(f"invalid {implementation=}: expected 'reference', 'xla' or None")
