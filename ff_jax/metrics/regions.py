"""Score under-constrained regions (UCR) and high-precision regions (HPR) of an EIG map separately.

FaithFusion (arXiv 2511.21113) splits the frames of a shifted drive at a threshold of the EIG map and reports the FID of
both regions. It does not state how the rest of a masked image is filled, whether the reference is masked, or which
model's map is used. Here:

- Both images of a pair get the same mask and the same fill. The fill is mid-gray: it is close to the mean of natural
  images, so that the mask has a weaker edge than with black.
- The EIG map of one fixed model defines the regions for all models in a comparison. Otherwise each model would select
  its own pixels, and an overconfident one would have no under-constrained region.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Bool, Float, Float32

from ff_jax.metrics.image import masked_mean, psnr, ssim


class RegionScore(NamedTuple):
    """Scores of one region of one image; NaN for an empty region."""

    psnr: float  # dB
    ssim: float
    lpips: float  # NaN without a distance map
    share: float  # fraction of the pixels of the image


def masked_pair(
    render: Float[ArrayLike, "H W 3"],
    reference: Float[ArrayLike, "H W 3"],
    region: Bool[ArrayLike, "H W"],
    fill: float = 0.5,
) -> tuple[Float32[np.ndarray, "H W 3"], Float32[np.ndarray, "H W 3"]]:
    """Fill both images outside the region, for metrics of whole images such as FID."""
    inside = np.asarray(region)[..., None]
    outside = np.float32(fill)
    return (
        np.where(inside, np.asarray(render, np.float32), outside),
        np.where(inside, np.asarray(reference, np.float32), outside),
    )


def score_region(
    render: Float[ArrayLike, "H W 3"],
    reference: Float[ArrayLike, "H W 3"],
    region: Bool[ArrayLike, "H W"],
    distance_map: Float[ArrayLike, "H W"] | None = None,
) -> RegionScore:
    """Compare two images within one region.

    Args:
        render: colors in [0, 1].
        reference: the same view, colors in [0, 1].
        region: pixels that count. SSIM windows and LPIPS receptive fields extend beyond it.
        distance_map: LPIPS per pixel.
    """
    region = np.asarray(region)
    if not region.any():
        return RegionScore(np.nan, np.nan, np.nan, 0.0)
    lpips = np.nan if distance_map is None else float(masked_mean(distance_map, region))
    scores = float(psnr(render, reference, region)), float(ssim(render, reference, region))
    return RegionScore(*scores, lpips, float(region.mean()))
