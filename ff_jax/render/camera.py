"""Pinhole cameras as pytrees.

OpenCV axes: x right, y down, z forward; pixel centers at .5; meters.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from jaxtyping import ArrayLike, Float


class Shutter(struct.PyTreeNode):
    """The motion of a camera while its image is read out line by line, at constant velocity (`rolling_shutter`)."""

    motion: Float[Array, "6"]  # first to last line: rotation vector [rad] and translation [m] of `camera_from_world`
    columns: bool = struct.field(pytree_node=False, default=False)  # whether lines are columns, left to right


class Camera(struct.PyTreeNode):
    """One pinhole camera without distortion; differentiable in `K`, `camera_from_world` and the shutter's motion."""

    K: Float[Array, "3 3"]  # pixels
    camera_from_world: Float[Array, "4 4"]  # meters, OpenCV axes
    width: int = struct.field(pytree_node=False)  # pixels
    height: int = struct.field(pytree_node=False)
    shutter: Shutter | None = None  # None: all lines at once; else the pose is that of the middle line

    @property
    def world_from_camera(self) -> Float[Array, "4 4"]:
        """Compute the rigid inverse of `camera_from_world`."""
        return invert_rigid(self.camera_from_world)


@partial(jax.jit, inline=True)  # compiled because most calls are outside of a compiled program
def invert_rigid(transform: Float[ArrayLike, "... 4 4"]) -> Float[Array, "... 4 4"]:
    """Invert rigid transforms: (R, t) -> (R^T, -R^T t)."""
    transform = jnp.asarray(transform)
    rotation = jnp.swapaxes(transform[..., :3, :3], -1, -2)
    translation = -jnp.einsum("...ij,...j->...i", rotation, transform[..., :3, 3], precision="highest")
    top = jnp.concatenate([rotation, translation[..., None]], -1)
    return jnp.concatenate([top, transform[..., 3:, :]], -2)


def make_camera(
    K: Float[ArrayLike, "3 3"], world_from_camera: Float[ArrayLike, "4 4"], width: int, height: int
) -> Camera:
    """Build a `Camera` from intrinsics (pixels) and a camera-to-world pose (meters)."""
    pose = invert_rigid(jnp.asarray(world_from_camera, jnp.float32))
    return Camera(jnp.asarray(K, jnp.float32), pose, width, height)


def resize(camera: Camera, width: int, height: int) -> Camera:
    """Scale the intrinsics of `camera` to an image of `width` x `height` pixels of the same field of view."""
    scale = jnp.array([width / camera.width, height / camera.height, 1.0])
    return camera.replace(K=camera.K * scale[:, None], width=width, height=height)
