"""Low-rank updates of kernels (LoRA, arXiv 2106.09685), stored beside the parameters and merged where they are used.

An update is a tree with {"a", "b"} in place of every kernel: a (..., in, rank) and b (rank, out). For a convolution, a
has the kernel's window, so the update is a convolution to `rank` channels followed by a 1 x 1 one.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array
from jaxtyping import Float, Key, PyTree


def init(key: Key[Array, ""], params: PyTree, rank: int) -> PyTree:
    """Make an update of every kernel in `params` that changes nothing: a is Gaussian (1 / rank), b zero.

    Args:
        key: random key of a.
        params: nested dictionary, for instance {"vae": {"decoder": ...}, "skips": ...} of a network's parameters.
        rank: of the update.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    leaves: dict[tuple[str, ...], Any] = flatten_dict(params)
    update = {}
    for path, leaf in leaves.items():
        if path[-1] == "kernel":
            a = rng.standard_normal((*leaf.shape[:-1], rank), np.float32) / rank
            update |= {(*path[:-1], "a"): jnp.asarray(a), (*path[:-1], "b"): jnp.zeros((rank, leaf.shape[-1]))}
    return unflatten_dict(update)


def merge(params: PyTree, update: PyTree, scale: float) -> PyTree:
    """Replace every kernel W that has an update by W + scale a b; differentiable in both.

    Args:
        params: nested dictionary.
        update: from `init`.
        scale: alpha / rank.

    Raises:
        ValueError: the update has a kernel that `params` lacks or that has another shape there.
    """
    leaves: dict[tuple[str, ...], Any] = flatten_dict(params)
    factors: dict[tuple[str, ...], Any] = flatten_dict(update)
    for path in {path[:-1] for path in factors}:
        change = product(factors[*path, "a"], factors[*path, "b"])
        kernel = leaves.get((*path, "kernel"))
        if kernel is None or kernel.shape != change.shape:
            shape = "nothing" if kernel is None else kernel.shape
            raise ValueError(
                f"the update of {'/'.join(path)} has shape {change.shape}, its kernel {shape}: use its own."
            )
        leaves[*path, "kernel"] = kernel + scale * change
    return unflatten_dict(leaves)


def product(a: Float[Array, "*window n rank"], b: Float[Array, "rank m"]) -> Float[Array, "*window n m"]:
    """Compute a b: the change of a kernel before it is scaled."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
