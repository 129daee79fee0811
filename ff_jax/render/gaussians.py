"""The Gaussian buffer: a pytree of fixed capacity, all of it trainable.

Which slots are in use is a separate boolean array `alive` (N,), so that gradients and optimizers act on the
whole pytree and the shapes never change during a run.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from jaxtyping import Bool, Float

SH_C0 = 0.28209479177387814  # 1 / (2 sqrt(pi)): the constant spherical harmonic


@struct.dataclass
class Gaussians:
    """Anisotropic 3D Gaussians in the world frame (Kerbl et al. 2023, arXiv 2308.04079)."""

    means: Float[Array, "N 3"]  # metres
    quats: Float[Array, "N 4"]  # wxyz, any positive length
    log_scales: Float[Array, "N 3"]  # log metres (standard deviations)
    logit_opacities: Float[Array, "N"]
    sh: Float[Array, "N K 3"]  # K = (degree + 1)^2 coefficients per colour channel

    @property
    def capacity(self) -> int:
        """Return the number of slots."""
        return self.means.shape[0]


def rgb_to_dc(rgb: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
    """Return the degree-0 coefficients that show the colour `rgb` in [0, 1]."""
    return (rgb - 0.5) / SH_C0


def opacities(gaussians: Gaussians, alive: Bool[Array, "N"]) -> Float[Array, "N"]:
    """Return opacities in [0, 1); exactly 0 in slots that are not alive."""
    return jnp.where(alive, jax.nn.sigmoid(gaussians.logit_opacities), 0.0)
