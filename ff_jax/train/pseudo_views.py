"""Pseudo-views: repaired frames off the recorded path, kept on the device.

A ring buffer of fixed capacity: a new clip overwrites the oldest one. Nothing is written to image files.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jaxtyping import Float, Int

from ff_jax.render.camera import Camera
from ff_jax.scene import View
from ff_jax.train.batch import Batch


class PseudoViews(struct.PyTreeNode):
    """Repaired frames with their weights and cameras; slot s trains exposure `first_exposure` + s."""

    images: Float[Array, "P H W 3"]  # colors in [0, 1]
    weights: Float[Array, "P H W"]  # EIG weight in [0, 1]
    depth: Float[Array, "P H W"]  # measured camera z, meters; 0 where there is none
    K: Float[Array, "P 3 3"]
    camera_from_world: Float[Array, "P 4 4"]
    times: Float[Array, "P"]  # seconds
    filled: Int[Array, ""]  # number of slots that hold a frame
    cursor: Int[Array, ""]  # slot that is written next
    offsets: Float[Array, "P 3"] | None = None  # of the cameras (`View.offset`); None if nothing depends on them

    @property
    def capacity(self) -> int:
        """Return the number of slots."""
        return self.images.shape[0]


class PseudoClip(NamedTuple):
    """A clip to append; fields as in `PseudoViews`."""

    images: Float[Array, "T H W 3"]
    weights: Float[Array, "T H W"]
    depth: Float[Array, "T H W"]
    K: Float[Array, "T 3 3"]
    camera_from_world: Float[Array, "T 4 4"]
    times: Float[Array, "T"]
    offsets: Float[Array, "T 3"] | None = None


def init_pseudo_views(capacity: int, height: int, width: int, *, with_offsets: bool = False) -> PseudoViews:
    """Make an empty buffer of `capacity` frames."""

    def zeros(*shape: int) -> Array:
        return jax.device_put(np.zeros((capacity, *shape), np.float32))

    images, weights, depth = zeros(height, width, 3), zeros(height, width), zeros(height, width)
    offsets = zeros(3) if with_offsets else None
    return PseudoViews(images, weights, depth, zeros(3, 3), zeros(4, 4), zeros(), jnp.int32(0), jnp.int32(0), offsets)


def append(views: PseudoViews, clip: PseudoClip) -> PseudoViews:
    """Write a clip into the buffer, over its oldest frames.

    Raises:
        ValueError: the clip is longer than the buffer.
    """
    capacity, count = views.capacity, clip.images.shape[0]
    if count > capacity:
        raise ValueError(
            f"a clip of {count} frames does not fit into pseudo_view_capacity={capacity}: raise pseudo_view_capacity."
        )
    slots = (views.cursor + jnp.arange(count)) % capacity
    stored = clip._asdict() if views.offsets is not None else clip._replace(offsets=None)._asdict()
    given = {name: value for name, value in stored.items() if value is not None}
    arrays = {name: getattr(views, name).at[slots].set(value) for name, value in given.items()}
    filled = jnp.minimum(views.filled + count, capacity)
    return views.replace(**arrays, filled=filled, cursor=(views.cursor + count) % capacity)


def emptied(views: PseudoViews) -> PseudoViews:
    """Return the buffer without frames."""
    return views.replace(filled=jnp.int32(0), cursor=jnp.int32(0))


@jax.jit
def pseudo_batch(views: PseudoViews, index: Int[Array, ""], first_exposure: Int[Array, ""]) -> Batch:
    """Return slot `index` of the buffer as a training batch."""
    height, width = views.weights.shape[1:]
    camera = Camera(views.K[index], views.camera_from_world[index], width, height)
    no_row = jnp.int32(-1)
    exposure = (first_exposure + index).astype(jnp.int32)
    offset = None if views.offsets is None else views.offsets[index]
    view = View(camera, exposure, no_row, no_row, views.times[index], exposure, jnp.float32(0), offset)
    return Batch(
        image=views.images[index],
        weight=views.weights[index],
        view=view,
        sky=jnp.zeros((height, width), bool),
        sky_known=jnp.bool_(False),
        lidar=views.depth[index],
        novel=jnp.bool_(True),
        dynamic=jnp.zeros((height, width), bool),
    )
