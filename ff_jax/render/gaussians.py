"""The Gaussian buffer: a pytree of fixed capacity, all of it trainable.

A separate boolean array `alive` (N,) says which slots are in use, so that gradients and optimizers act on the
whole pytree and shapes never change during a run.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jaxtyping import Bool, Float

SH_C0 = 0.28209479177387814  # 1 / (2 sqrt(pi)): the constant spherical harmonic


class Gaussians(struct.PyTreeNode):
    """Anisotropic 3D Gaussians (Kerbl et al. 2023, arXiv 2308.04079), in the frame of their node."""

    means: Float[Array, "N 3"]  # meters
    quats: Float[Array, "N 4"]  # wxyz, any positive length
    log_scales: Float[Array, "N 3"]  # log meters (standard deviations)
    logit_opacities: Float[Array, "N"]
    sh: Float[Array, "N K 3"]  # K = (degree + 1)^2 coefficients per color channel

    @property
    def capacity(self) -> int:
        """Return the number of slots."""
        return self.means.shape[0]


class GaussianArrays(NamedTuple):
    """Gaussians on the host, as files hold them: the fields of `Gaussians`, in single or double precision."""

    means: Float[np.ndarray, "N 3"]
    quats: Float[np.ndarray, "N 4"]
    log_scales: Float[np.ndarray, "N 3"]
    logit_opacities: Float[np.ndarray, "N"]
    sh: Float[np.ndarray, "N K 3"]

    @property
    def count(self) -> int:
        """Return the number of Gaussians."""
        return len(self.means)


class WorldGaussians(NamedTuple):
    """All Gaussians of a scene at one time, in the world frame, with the slots that are in use."""

    gaussians: Gaussians
    alive: Bool[Array, "N"]
    sh_axes: Float[Array, "N 3 3"] | None = None  # axes (columns, world) that colors refer to; None: the world's


def on_host(gaussians: Gaussians) -> GaussianArrays:
    """Copy Gaussians to the host."""
    return GaussianArrays(*(np.asarray(getattr(gaussians, name)) for name in GaussianArrays._fields))


def rgb_to_dc(rgb: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
    """Convert a color in [0, 1] to the degree-0 coefficients that show it."""
    return (rgb - 0.5) / SH_C0


def opacities(gaussians: Gaussians, alive: Bool[Array, "N"]) -> Float[Array, "N"]:
    """Compute opacities in [0, 1); exactly 0 in slots that are not alive."""
    return jnp.where(alive, jax.nn.sigmoid(gaussians.logit_opacities), 0.0)
