"""Expansion of counts into slots."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Int


def expand(end: Int[Array, "n"], size: int) -> Int[Array, "size"]:
    """Return the owner of every slot, where owner k holds those up to `end[k]` and the last one the rest."""
    passed = jnp.zeros(size, jnp.int32).at[end].add(1, mode="drop", indices_are_sorted=True)
    return jnp.minimum(jnp.cumsum(passed), end.shape[0] - 1)
