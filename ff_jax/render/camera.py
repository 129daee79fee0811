"""Cameras as pytrees: pinholes, and the lenses of `ff_jax.render.lenses`.

OpenCV axes: x right, y down, z forward; pixel centers at .5; meters.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from jaxtyping import ArrayLike, Bool, Float

from ff_jax.render.lenses import Lens

Direction = Literal["top_to_bottom", "left_to_right", "bottom_to_top", "right_to_left"]  # of a readout


class Shutter(struct.PyTreeNode):
    """The motion of a camera while its image is read out line by line, at constant velocity (`rolling_shutter`)."""

    motion: Float[Array, "6"]  # first line read to last: rotation vector [rad], translation [m] of `camera_from_world`
    direction: Direction = struct.field(pytree_node=False, default="top_to_bottom")

    @property
    def columns(self) -> bool:
        """Say whether the lines are columns."""
        return self.direction in ("left_to_right", "right_to_left")

    @property
    def is_reversed(self) -> bool:
        """Say whether the line at the bottom, or at the right, is read first."""
        return self.direction in ("bottom_to_top", "right_to_left")


class Camera(struct.PyTreeNode):
    """One camera; differentiable in `K`, `camera_from_world`, and the numbers of the shutter and the lens."""

    K: Float[Array, "3 3"]  # from the lens plane (x / z and y / z of a pinhole) to pixels
    camera_from_world: Float[Array, "4 4"]  # meters, OpenCV axes
    width: int = struct.field(pytree_node=False)  # pixels
    height: int = struct.field(pytree_node=False)
    shutter: Shutter | None = None  # None: all lines at once; else the pose is that of the middle line
    lens: Lens | None = None  # None: a pinhole

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
    """Scale `camera`, with its lens, to an image of `width` x `height` pixels of the same field of view."""
    scale = jnp.array([width / camera.width, height / camera.height, 1.0])
    return camera.replace(K=camera.K * scale[:, None], width=width, height=height)


def project_points(camera: Camera, points: Float[Array, "*n 3"]) -> tuple[Float[Array, "*n 2"], Bool[Array, "*n"]]:
    """Project points in the camera frame (meters) to pixels, whatever the image's size.

    Returns:
        Pixels, and whether the points are in front of a pinhole or in the domain of the lens. The others have finite
        pixels too.
    """
    if camera.lens is not None:
        xy, is_visible = camera.lens.within(_reach(camera)).to_plane(points)
    else:
        is_visible = points[..., 2] > 0
        xy = points[..., :2] / jnp.where(is_visible, points[..., 2], 1.0)[..., None]
    (fx, skew, cx), (_, fy, cy) = camera.K[0], camera.K[1]
    return jnp.stack([fx * xy[..., 0] + skew * xy[..., 1] + cx, fy * xy[..., 1] + cy], -1), is_visible


def pixel_rays(camera: Camera, pixels: Float[Array, "*n 2"]) -> tuple[Float[Array, "*n 3"], Bool[Array, "*n"]]:
    """Compute unit directions in the camera frame through image points (x, y); the inverse of `project_points`.

    Returns:
        Directions, and whether they are in the domain of the lens (everywhere for a pinhole).
    """
    xy = _to_plane(camera, pixels)
    if camera.lens is not None:
        directions, is_inside = camera.lens.within(_reach(camera)).to_rays(xy)
        return directions, is_inside
    rays = jnp.concatenate([xy, jnp.ones_like(xy[..., :1])], -1)
    return rays / jnp.linalg.norm(rays, axis=-1, keepdims=True), jnp.ones(xy.shape[:-1], bool)


def _to_plane(camera: Camera, pixels: Float[Array, "*n 2"]) -> Float[Array, "*n 2"]:
    """Map image points to the lens plane."""
    (fx, skew, cx), (_, fy, cy) = camera.K[0], camera.K[1]
    y = (pixels[..., 1] - cy) / fy
    return jnp.stack([(pixels[..., 0] - cx - skew * y) / fx, y], -1)


def _reach(camera: Camera) -> Float[Array, ""]:
    """Compute the distance from the axis, in the lens plane, of the farthest corner of the image."""
    width, height = camera.width, camera.height
    corners = _to_plane(camera, jnp.array([[0.0, 0], [width, 0], [0, height], [width, height]]))
    return jnp.sqrt(jnp.max(jnp.sum(corners**2, -1)))


def require_pinhole(camera: Camera, what: str) -> None:
    """Refuse a camera with a lens.

    Raises:
        ValueError: the camera has a lens, which `what` (the subject of the sentence) does not support.
    """
    if camera.lens is not None:
        name = type(camera.lens).__name__
        raise ValueError(f"{what} supports pinhole cameras only, found a camera with {name}: give it lens=None.")
