"""Blend a repair into a render, weighted by EIG."""

from jax import Array
from jaxtyping import Float


def blend(
    fixed: Float[Array, "*T H W 3"], render: Float[Array, "*T H W 3"], weight: Float[Array, "*T H W"]
) -> Float[Array, "*T H W 3"]:
    """Compute render + weight (fixed - render); where the weight is 0, the render is kept bit for bit.

    Args:
      fixed: repaired frames.
      render: frames before the repair.
      weight: weight of the repair in [0, 1], `ff_jax.eig.eig_weight` of the EIG map.
    """
    return render + weight[..., None] * (fixed - render)
