"""Diffusion in one step: the clean latent from one prediction of noise, at a fixed and moderate noise level.

Difix (arXiv 2503.01774, section 3.2) takes the latent of the degraded image itself for the noisy one: no noise is
added, and the network removes what it believes to be noise.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

_STEPS = 1000
_BETAS = (0.00085, 0.012)  # first and last; their roots are spaced evenly


@functools.cache
def alpha_bar(timestep: int) -> float:
    """Return the share of the signal's variance at `timestep`: the product of 1 - beta up to and including it."""
    betas = np.linspace(*np.sqrt(_BETAS), _STEPS) ** 2
    return float(np.prod(1.0 - betas[: timestep + 1]))


def clean(latent: Float[Array, "*n"], noise: Float[Array, "*n"], timestep: int) -> Float[Array, "*n"]:
    """Return x0 = (z - sqrt(1 - alpha_bar) noise) / sqrt(alpha_bar).

    This is a whole run of a sampler (DDPM, arXiv 2006.11239, equation 15) that has this one timestep.

    Args:
        latent: z, the latent that stands for the noisy one.
        noise: what the network predicts from it.
        timestep: of 1000.
    """
    signal = alpha_bar(timestep)
    return (latent - jnp.asarray(np.sqrt(1.0 - signal), latent.dtype) * noise) / jnp.asarray(
        np.sqrt(signal), latent.dtype
    )
