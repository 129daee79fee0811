"""One image to train on, with the weights of its pixels."""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from jax.typing import DTypeLike
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


def blank_batch(view: View, image_dtype: DTypeLike = jnp.uint8) -> Batch:
    """Make a batch of a view without an image: black, of weight 1, with the dtypes of recorded frames.

    Args:
        view: the view.
        image_dtype: of the image; recorded images are bytes, those of synthetic logs are float32.
    """
    size = view.camera.height, view.camera.width
    return Batch(
        image=jnp.zeros((*size, 3), image_dtype),
        weight=jnp.ones(size),
        view=view,
        sky=jnp.zeros(size, bool),
        sky_known=jnp.bool_(False),
        lidar=jnp.zeros(size),
        novel=jnp.bool_(False),
        dynamic=jnp.zeros(size, bool),
    )


def as_float(image: UInt8[Array, "H W 3"] | Float[Array, "H W 3"]) -> Float[Array, "H W 3"]:
    """Convert bytes or colors to colors in [0, 1]."""
    return image / 255.0 if image.dtype == jnp.uint8 else image.astype(jnp.float32)


def tree_bytes(tree: PyTree) -> int:
    """Compute the size of all arrays of a pytree in bytes."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree) if hasattr(x, "size"))
