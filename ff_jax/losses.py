"""Losses of reconstruction and distillation.

All images are (H, W, 3) in [0, 1]; a weight map (H, W) says how far each pixel is believed (1 on recorded
images; the EIG weight on repaired views).
"""

import dataclasses

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from ff_jax.gaussians import Gaussians, opacities
from kernels.ssim import ssim


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms (dimensionless unless said).

    Attributes:
        ssim: share of 1 - SSIM against L1.
        depth: LiDAR depth, per metre of inverse-depth-normalised error.
        sky: opacity pulled to 0 on sky and to 1 elsewhere, where a sky mask is known.
        opacity: mean opacity (keeps the number of useful Gaussians small; MCMC).
        scale: mean scale in metres (MCMC).
        exposure: distance of an exposure from the identity.
        novel: factor on every image term of a repaired view.
    """

    ssim: float = 0.2
    depth: float = 0.05
    sky: float = 0.05
    opacity: float = 0.01
    scale: float = 0.01
    exposure: float = 0.01
    novel: float = 0.7


def weighted_mean(values: Float[Array, "*n"], weight: Float[Array, "*n"]) -> Float[Array, ""]:
    """Return sum(weight * values) / number of pixels: a pixel of weight 0 stays 0 and is not made up for."""
    return jnp.mean(weight * values)


def photometric(
    image: Float[Array, "H W 3"],
    target: Float[Array, "H W 3"],
    weight: Float[Array, "H W"],
    ssim_share: float,
) -> Float[Array, ""]:
    """Return (1 - share) L1 + share (1 - SSIM), both weighted per pixel."""
    l1 = weighted_mean(jnp.abs(image - target).mean(-1), weight)
    structure = weighted_mean(1.0 - ssim(image, target), weight)
    return (1.0 - ssim_share) * l1 + ssim_share * structure


def depth_l1(
    accumulated: Float[Array, "H W"], alpha: Float[Array, "H W"], lidar: Float[Array, "H W"]
) -> Float[Array, ""]:
    """Return the relative error |z - z_lidar| / z_lidar of expected depth over LiDAR pixels.

    Args:
        accumulated: rendered sum of weight times camera z, metres.
        alpha: accumulated opacity.
        lidar: camera z of LiDAR returns, metres; 0 where there is none.
    """
    hit = lidar > 0
    expected = accumulated / jnp.maximum(alpha, 1e-3)
    error = jnp.abs(expected - lidar) / jnp.where(hit, lidar, 1.0)
    return jnp.sum(jnp.where(hit, jnp.minimum(error, 1.0), 0.0)) / jnp.maximum(hit.sum(), 1)


def sky_opacity(alpha: Float[Array, "H W"], sky: Bool[Array, "H W"]) -> Float[Array, ""]:
    """Return the binary cross-entropy of opacity against not-sky."""
    alpha = jnp.clip(alpha, 1e-4, 1.0 - 1e-4)
    return -jnp.mean(jnp.where(sky, jnp.log1p(-alpha), jnp.log(alpha)))


def regularizers(gaussians: Gaussians, alive: Bool[Array, "N"], config: LossConfig) -> Float[Array, ""]:
    """Return the MCMC penalties on mean opacity and mean scale (arXiv 2404.09591, section 3.4)."""
    count = jnp.maximum(alive.sum(), 1)
    opacity = opacities(gaussians, alive).sum() / count
    scale = jnp.where(alive[:, None], jnp.exp(gaussians.log_scales), 0.0).sum() / (3 * count)
    return config.opacity * opacity + config.scale * scale
