"""Losses of reconstruction and distillation.

All images are (H, W, 3) in [0, 1]. A map (H, W) weights each pixel: 1 on recorded images, the EIG weight on repaired
views.
"""

import dataclasses

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from ff_jax.render.gaussians import Gaussians, opacities
from ff_jax.runtime.settings import Settings, bounded
from kernels import ssim

FULL_COVERAGE = 0.03  # share of the pixels with a measured depth, about that of a 64-beam LiDAR in a camera
ANISOTROPY = 10.0  # ratio above which Gaussians are penalized: longer needles are visible as artifacts in other views


@dataclasses.dataclass(frozen=True)
class LossConfig(Settings):
    """Weights of the loss terms (dimensionless unless stated).

    Attributes:
        ssim: share of 1 - SSIM against L1.
        depth: LiDAR depth, relative error.
        sky: cross-entropy that drives opacity to 0 in the sky and to 1 elsewhere, for images with a sky mask.
        opacity: mean opacity (keeps the number of useful Gaussians small; MCMC).
        scale: mean scale in meters (MCMC).
        exposure: distance of an exposure from the identity.
        novel: factor on every image term of a repaired view.
        dynamic: additional L1 over the pixels of actors.
        entropy: opacity entropy, which drives the opacity of every pixel to 0 or 1.
        anisotropy: ratio of a Gaussian's largest to its smallest standard deviation beyond `ANISOTROPY`.
        box: distance of actors' Gaussians from their boxes, meters.
        path: roughness of actors' paths, per meter^2.
        camera_path: roughness of the corrected path of the cameras, per meter^2, where poses are optimized.
        coarse: L1 of both images at an 8th and a 16th of their size; its gradient is useful where poses are wrong by
            many pixels.
    """

    ssim: float = bounded(0.2, 0.0, 1.0)
    depth: float = bounded(0.05, 0.0, 1e6)
    sky: float = bounded(0.05, 0.0, 1e6)
    opacity: float = bounded(0.01, 0.0, 1e6)
    scale: float = bounded(0.01, 0.0, 1e6)
    exposure: float = bounded(0.01, 0.0, 1e6)
    novel: float = bounded(0.7, 0.0, 1e6)
    dynamic: float = bounded(0.5, 0.0, 1e6)
    entropy: float = bounded(0.0, 0.0, 1e6)
    anisotropy: float = bounded(0.0, 0.0, 1e6)
    box: float = bounded(0.1, 0.0, 1e6)
    path: float = bounded(10.0, 0.0, 1e6)
    # 300 after `smooth_cameras`: the remaining errors are slow, and a stiff path fits them
    camera_path: float = bounded(10.0, 0.0, 1e6)
    coarse: float = bounded(0.0, 0.0, 1e6)


def weighted_mean(values: Float[Array, "*n"], weight: Float[Array, "*n"]) -> Float[Array, ""]:
    """Compute sum(weight * values) / number of pixels; it is not divided by the sum of the weights."""
    return jnp.mean(weight * values)


def photometric(
    image: Float[Array, "H W 3"],
    target: Float[Array, "H W 3"],
    weight: Float[Array, "H W"],
    ssim_share: float,
) -> Float[Array, ""]:
    """Compute (1 - share) L1 + share (1 - SSIM), both weighted per pixel."""
    l1 = weighted_mean(jnp.abs(image - target).mean(-1), weight)
    structure = weighted_mean(1.0 - ssim(image, target), weight)
    return (1.0 - ssim_share) * l1 + ssim_share * structure


def coarse_l1(
    image: Float[Array, "H W 3"], target: Float[Array, "H W 3"], weight: Float[Array, "H W"]
) -> Float[Array, ""]:
    """Compute the L1 of the weighted difference averaged over squares of 8 and of 16 pixels, and add both.

    Rows and columns that do not fill a square are left out.
    """
    total = jnp.float32(0)
    for side in (8, 16):
        rows, columns = image.shape[0] // side, image.shape[1] // side
        difference = (weight[..., None] * (image - target))[: rows * side, : columns * side]
        total += jnp.abs(difference.reshape(rows, side, columns, side, 3).mean((1, 3))).mean()
    return total


def depth_l1(
    accumulated: Float[Array, "H W"], alpha: Float[Array, "H W"], lidar: Float[Array, "H W"]
) -> Float[Array, ""]:
    """Compute the relative error |z - z_lidar| / z_lidar of expected depth over LiDAR pixels.

    Args:
        accumulated: rendered sum of weight times camera z, meters.
        alpha: accumulated opacity.
        lidar: camera z of LiDAR returns, meters; 0 where there is none.
    """
    hit = lidar > 0
    expected = accumulated / jnp.maximum(alpha, 1e-3)
    error = jnp.abs(expected - lidar) / jnp.where(hit, lidar, 1.0)
    return jnp.sum(jnp.where(hit, jnp.minimum(error, 1.0), 0.0)) / jnp.maximum(hit.sum(), 1)


def coverage(depth: Float[Array, "H W"]) -> Float[Array, ""]:
    """Compute the share of pixels with a measured depth relative to `FULL_COVERAGE`, at most 1.

    It weights the depth of pseudo-views: a few hundred points must not count as much as a dense sweep.
    """
    return jnp.minimum((depth > 0).mean() / FULL_COVERAGE, 1.0)


def sky_opacity(alpha: Float[Array, "H W"], sky: Bool[Array, "H W"]) -> Float[Array, ""]:
    """Compute the binary cross-entropy of opacity, with the target 0 in the sky and 1 elsewhere."""
    alpha = jnp.clip(alpha, 1e-4, 1.0 - 1e-4)
    return -jnp.mean(jnp.where(sky, jnp.log1p(-alpha), jnp.log(alpha)))


def region_l1(
    image: Float[Array, "H W 3"], target: Float[Array, "H W 3"], weight: Float[Array, "H W"]
) -> Float[Array, ""]:
    """Compute the mean absolute error weighted by `weight`, per total weight; 0 if all weights are 0."""
    return jnp.sum(weight * jnp.abs(image - target).mean(-1)) / jnp.maximum(jnp.sum(weight), 1.0)


def opacity_entropy(alpha: Float[Array, "H W"]) -> Float[Array, ""]:
    """Compute the mean of -alpha log alpha, nats; a pixel of opacity 0 or 1 contributes 0."""
    return -jnp.mean(alpha * jnp.log(jnp.clip(alpha, 1e-6, 1.0)))


def anisotropy(gaussians: Gaussians, alive: Bool[Array, "N"]) -> Float[Array, ""]:
    """Compute the mean of max(0, largest / smallest deviation - ANISOTROPY) over the alive Gaussians."""
    ratio = jnp.exp(jnp.max(gaussians.log_scales, -1) - jnp.min(gaussians.log_scales, -1))
    return jnp.sum(jnp.where(alive, jnp.maximum(ratio - ANISOTROPY, 0.0), 0.0)) / jnp.maximum(alive.sum(), 1)


def regularizers(gaussians: Gaussians, alive: Bool[Array, "N"], config: LossConfig) -> Float[Array, ""]:
    """Compute the MCMC penalties on mean opacity and mean scale (arXiv 2404.09591, section 3.4)."""
    count = jnp.maximum(alive.sum(), 1)
    opacity = opacities(gaussians, alive).sum() / count
    scale = jnp.where(alive[:, None], jnp.exp(gaussians.log_scales), 0.0).sum() / (3 * count)
    total = config.opacity * opacity + config.scale * scale
    return total + config.anisotropy * anisotropy(gaussians, alive) if config.anisotropy else total
