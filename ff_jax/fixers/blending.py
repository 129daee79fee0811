"""Let a repair replace the render only where the reconstruction does not know."""

from jax import Array
from jaxtyping import Float


def blend(
    fixed: Float[Array, "*T H W 3"], render: Float[Array, "*T H W 3"], weight: Float[Array, "*T H W"]
) -> Float[Array, "*T H W 3"]:
    """Blend `fixed` into `render`: out = render + weight (fixed - render).

    Where the weight is exactly 0 the render comes back bit for bit.

    Args:
      fixed: repaired frames.
      render: frames before the repair.
      weight: weight of the repair in [0, 1], `ff_jax.eig.eig_weight` of the EIG map.
    """
    return render + weight[..., None] * (fixed - render)
