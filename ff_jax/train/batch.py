"""One image to train on, with the weights of its pixels."""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from jaxtyping import Bool, Float, PyTree, UInt8

from ff_jax.scene import View


class Batch(struct.PyTreeNode):
    """One image to train on, recorded or repaired."""

    image: UInt8[Array, "H W 3"] | Float[Array, "H W 3"]  # recorded bytes, or repaired colors in [0, 1]
    weight: Float[Array, "H W"]  # weight of each pixel in the loss
    view: View
    sky: Bool[Array, "H W"]
    sky_known: Bool[Array, ""]
    lidar: Float[Array, "H W"]  # camera z of LiDAR returns, meters; 0 where there is none
    novel: Bool[Array, ""]  # a repaired view off the recorded path
    dynamic: Bool[Array, "H W"]  # pixels of actors


def as_float(image: UInt8[Array, "H W 3"] | Float[Array, "H W 3"]) -> Float[Array, "H W 3"]:
    """Convert bytes or colors to colors in [0, 1]."""
    return image / 255.0 if image.dtype == jnp.uint8 else image.astype(jnp.float32)


def tree_bytes(tree: PyTree) -> int:
    """Compute the size of all arrays of a pytree in bytes."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree) if hasattr(x, "size"))
