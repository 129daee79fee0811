"""Diffusion in one step: the clean latent from one noise prediction, at a fixed and moderate noise level.

Difix (arXiv 2503.01774, section 3.2) uses the latent of the degraded image as the noisy latent: no noise is added, and
the network removes the degradation as if it were noise.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

_STEPS = 1000
_BETAS = (0.00085, 0.012)  # first and last; their square roots are spaced evenly


@functools.cache
def alpha_bar(timestep: int) -> float:
    """Compute the signal's share of the variance at `timestep`: the product of 1 - beta up to and including it."""
    first, last = np.sqrt(_BETAS)
    betas = np.linspace(first, last, _STEPS) ** 2
    return float(np.prod(1.0 - betas[: timestep + 1]))


def predict_x0(latent: Float[Array, "*n"], noise: Float[Array, "*n"], timestep: int) -> Float[Array, "*n"]:
    """Compute x0 = (z - sqrt(1 - alpha_bar) noise) / sqrt(alpha_bar).

    This is a whole run of a sampler (DDPM, arXiv 2006.11239, equation 15) with this one timestep.

    Args:
        latent: z, used as the noisy latent.
        noise: the network's prediction.
        timestep: of 1000.
    """
    signal = alpha_bar(timestep)
    return (latent - jnp.asarray(np.sqrt(1.0 - signal), latent.dtype) * noise) / jnp.asarray(
        np.sqrt(signal), latent.dtype
    )
