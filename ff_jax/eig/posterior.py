"""The posterior of the Gaussians and of the background: prior plus Fisher information."""

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jaxtyping import Bool, Float

from ff_jax.eig import background
from ff_jax.eig.block_posterior import diagonal_factors, posterior_factors
from ff_jax.eig.config import Priors
from ff_jax.eig.information import Precision
from ff_jax.render.gaussians import Gaussians
from kernels import SH_BAND

STRUCTURES = ("block", "diag")


class Posterior(struct.PyTreeNode):
    """Covariance of every block as a factor F: Sigma = F F^T."""

    geometry: Float[Array, "N 10 10"]  # upper triangular, like `color`
    color: Float[Array, "N K K"]
    background: Float[Array, "cells"]  # standard deviation of one channel, per direction


def posterior(
    precision: Precision,
    priors: Priors,
    gaussians: Gaussians,
    *,
    structure: str = "block",
) -> Posterior:
    """Combine prior and Fisher information into one covariance factor per block.

    Args:
        precision: from `accumulate`, over all observed views.
        priors: before any view was observed.
        gaussians: those of `precision`.
        structure: "block" keeps the correlations within a block, "diag" drops them.

    Raises:
        ValueError: if `structure` is unknown.
    """
    if structure not in STRUCTURES:
        raise ValueError(f"{structure=} is unknown: use one of {STRUCTURES}")
    # The unit of the position prior: reconstruction ties the largest deviation to the distance between neighbors.
    spacing = jnp.exp(jnp.max(gaussians.log_scales, -1))
    fixed = [priors.rotation] * 3 + [priors.log_scale] * 3 + [priors.logit_opacity]
    fixed = jnp.broadcast_to(jnp.array(fixed), (gaussians.capacity, 7))
    std = jnp.concatenate([jnp.repeat(priors.position * spacing[:, None], 3, 1), fixed], -1)
    factor = posterior_factors if structure == "block" else diagonal_factors
    # The squares of the 2 l + 1 functions of band l add up to (2 l + 1) / (4 pi) in every direction.
    band = np.array(SH_BAND[: gaussians.sh.shape[1]])
    band_std = np.where(band == 0, priors.color, priors.view_color) * np.sqrt(4 * np.pi / (2 * band + 1))
    color = jnp.broadcast_to(jnp.asarray(band_std, jnp.float32), gaussians.sh.shape[:2])
    background_std = background.posterior_std(precision.background, priors.background)
    return Posterior(factor(precision.geometry, std), factor(precision.color, color), background_std)


def restrict(posterior: Posterior, rows: Bool[Array, "N"]) -> Posterior:
    """Set the covariance of all Gaussians outside `rows`, and of the background, to 0.

    The EIG map of the result is the share of these Gaussians (of one node, for example) in each pixel's EIG.
    """
    selected = rows[:, None, None]
    geometry, color = (jnp.where(selected, factor, 0.0) for factor in (posterior.geometry, posterior.color))
    return Posterior(geometry, color, jnp.zeros_like(posterior.background))
