"""The pool of pseudo-views: repaired frames off the recorded path, kept on the device.

A ring of fixed capacity: a new clip overwrites the oldest one, so earlier shifts stay in training until their
slots are needed. Nothing goes through image files.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jaxtyping import Float, Int

from ff_jax.render.camera import Camera
from ff_jax.scene.scene import View
from ff_jax.train.step import Batch


@struct.dataclass
class Pool:
    """Repaired frames with what is needed to train on them; slot s trains exposure `first_exposure` + s."""

    images: Float[Array, "P H W 3"]  # colours in [0, 1]
    weights: Float[Array, "P H W"]  # EIG weight in [0, 1]
    K: Float[Array, "P 3 3"]
    camera_from_world: Float[Array, "P 4 4"]
    times: Float[Array, "P"]  # seconds
    filled: Int[Array, ""]  # slots that hold a frame
    cursor: Int[Array, ""]  # slot that is written next


def init_pool(capacity: int, height: int, width: int) -> Pool:
    """Return an empty pool of `capacity` frames."""
    zeros = lambda *shape: jax.device_put(np.zeros((capacity, *shape), np.float32))
    images, weights = zeros(height, width, 3), zeros(height, width)
    return Pool(images, weights, zeros(3, 3), zeros(4, 4), zeros(), jnp.int32(0), jnp.int32(0))


def push(
    pool: Pool,
    images: Float[Array, "T H W 3"],
    weights: Float[Array, "T H W"],
    K: Float[Array, "T 3 3"],
    camera_from_world: Float[Array, "T 4 4"],
    times: Float[Array, "T"],
) -> Pool:
    """Write a clip into the pool, over its oldest frames.

    Raises:
        ValueError: the clip is longer than the pool.
    """
    capacity, count = pool.images.shape[0], images.shape[0]
    if count > capacity:
        raise ValueError(f"a clip of {count} frames does not fit into a pool of {capacity}: enlarge the pool.")
    slots = (pool.cursor + jnp.arange(count)) % capacity
    return Pool(
        pool.images.at[slots].set(images),
        pool.weights.at[slots].set(weights),
        pool.K.at[slots].set(K),
        pool.camera_from_world.at[slots].set(camera_from_world),
        pool.times.at[slots].set(times),
        jnp.minimum(pool.filled + count, capacity),
        (pool.cursor + count) % capacity,
    )


@jax.jit
def pool_batch(pool: Pool, index: Int[Array, ""], first_exposure: Int[Array, ""]) -> Batch:
    """Return slot `index` of the pool as a training batch."""
    height, width = pool.weights.shape[1:]
    camera = Camera(pool.K[index], pool.camera_from_world[index], width, height)
    nowhere = jnp.int32(-1)
    own = (first_exposure + index).astype(jnp.int32)
    view = View(camera, own, nowhere, nowhere, pool.times[index], own, jnp.float32(0))
    return Batch(
        image=pool.images[index],
        weight=pool.weights[index],
        view=view,
        sky=jnp.zeros((height, width), bool),
        sky_known=jnp.bool_(False),
        lidar=jnp.zeros((height, width)),
        novel=jnp.bool_(True),
        dynamic=jnp.zeros((height, width), bool),
    )
