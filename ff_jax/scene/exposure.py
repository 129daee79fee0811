"""Per-image exposure: an affine color transform, stored as its difference from the identity."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int


class ExposureBlend(NamedTuple):
    """An interpolation between the exposures of two images, for a view between their times."""

    before: int  # exposure id
    after: int  # exposure id
    share: float  # of `after`, 0 to 1


def init_exposure(count: int) -> Float[Array, "E 3 4"]:
    """Make `count` identity exposures."""
    return jnp.zeros((count, 3, 4))


def apply_exposure(rgb: Float[Array, "*n 3"], delta: Float[Array, "3 4"]) -> Float[Array, "*n 3"]:
    """Compute (I + A) rgb + b for `delta` = [A | b]."""
    return rgb + jnp.matmul(rgb, delta[:, :3].T, precision="highest") + delta[:, 3]


def exposure_penalty(exposures: Float[Array, "E 3 4"], index: Int[Array, ""]) -> Float[Array, ""]:
    """Compute the squared distance of one exposure from the identity (it fixes the gauge with the scene's colors)."""
    return jnp.sum(exposures[index] ** 2)
