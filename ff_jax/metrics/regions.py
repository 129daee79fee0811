"""Scores of the pixels that the recording leaves open (UCR) and of those that it determines (HPR), apart.

FaithFusion (arXiv 2511.21113) splits the frames of a shifted drive at a threshold of the EIG map into under-constrained
and high-precision regions and gives the FID of each. It does not say how the rest of a masked image is filled,
whether the reference is masked, or whose map is used. Here:

- Both images of a pair get the same mask and the same fill, so what is hidden adds no difference between them. The
  fill is mid-grey: it is close to the mean of natural images, so the rim of the mask is a weaker edge than with black.
- The regions must come from the EIG map of one fixed model, for all models compared. With its own map each model would
  choose its own pixels: one that is never in doubt would have no under-constrained region at all, and the hardest
  pixels of every model would be scored against easier ones of the next.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Bool, Float, Float32

from ff_jax.metrics.image import masked_mean, psnr, ssim


class Regions(NamedTuple):
    """Every pixel is in exactly one of the two."""

    ucr: Bool[np.ndarray, "H W"]  # under-constrained: the recording says little about it
    hpr: Bool[np.ndarray, "H W"]  # high precision


class RegionScore(NamedTuple):
    """One region of one image; nan where it has no pixel."""

    psnr: float  # dB
    ssim: float
    lpips: float  # nan without a distance map
    share: float  # of the image's pixels


def regions(eig: Float[ArrayLike, "H W"], threshold: float) -> Regions:
    """Split the pixels of a view at `threshold` nats; those that reach it are under-constrained.

    Raises:
        ValueError: the map has values that are not numbers, or the threshold is not one.
    """
    eig = np.asarray(eig)
    if np.isnan(eig).any() or np.isnan(threshold):
        raise ValueError(f"{threshold=}, {np.isnan(eig).sum()} pixels of the EIG map are nan; give numbers in nats.")
    ucr = eig >= threshold
    return Regions(ucr, ~ucr)


def masked_pair(
    render: Float[ArrayLike, "H W 3"],
    reference: Float[ArrayLike, "H W 3"],
    region: Bool[ArrayLike, "H W"],
    fill: float = 0.5,
) -> tuple[Float32[np.ndarray, "H W 3"], Float32[np.ndarray, "H W 3"]]:
    """Return both images with `fill` outside the region, for metrics that take whole images, such as FID."""
    inside = np.asarray(region)[..., None]
    keep = lambda image: np.where(inside, np.asarray(image, np.float32), np.float32(fill))
    return keep(render), keep(reference)


def score_region(
    render: Float[ArrayLike, "H W 3"],
    reference: Float[ArrayLike, "H W 3"],
    region: Bool[ArrayLike, "H W"],
    distance_map: Float[ArrayLike, "H W"] | None = None,
) -> RegionScore:
    """Compare two images within one region.

    Args:
        render: colours in [0, 1].
        reference: the same view, colours in [0, 1].
        region: pixels that count. Windows of SSIM and receptive fields of LPIPS look across its rim.
        distance_map: LPIPS of every pixel.
    """
    region = np.asarray(region)
    if not region.any():
        return RegionScore(np.nan, np.nan, np.nan, 0.0)
    lpips = np.nan if distance_map is None else float(masked_mean(distance_map, region))
    scores = float(psnr(render, reference, region)), float(ssim(render, reference, region))
    return RegionScore(*scores, lpips, float(region.mean()))
