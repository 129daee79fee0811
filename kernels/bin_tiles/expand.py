"""Expansion of counts into slots."""

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Int


def expand(count: Int[Array, "n"], end: Int[Array, "n"], size: int) -> Int[Array, "size"]:
    """Compute the owner of every slot, where owner k has the `count[k]` slots up to `end[k]`.

    Slots past the last span belong to the last owner with a slot.
    """
    # Skip empty spans: duplicate scatter indices serialize on GPUs.
    first = jnp.where(count > 0, end - count, size)
    owners = jnp.arange(end.shape[0], dtype=jnp.int32)
    return lax.cummax(jnp.zeros(size, jnp.int32).at[first].set(owners, mode="drop", unique_indices=True))
