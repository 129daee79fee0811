"""Cameras of the ego vehicle."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from ff_jax.data.synthetic.types import Street
from ff_jax.render.camera import Camera, make_camera

# Name: (x forward, y left) in the ego frame, meters, and heading to the left, degrees.
RIG = {"front": (1.6, 0.0, 0.0), "front_left": (1.5, 0.35, 50.0), "front_right": (1.5, -0.35, -50.0)}


def ego_from_camera(name: str, height: Float[Array, ""]) -> Float[Array, "4 4"]:
    """Compute the pose of a camera in the ego frame (x forward, y left, z up).

    Raises:
        ValueError: no camera of that name.
    """
    if name not in RIG:
        raise ValueError(f"invalid camera {name=}: expected one of {', '.join(sorted(RIG))}.")
    x, y, degrees = RIG[name]
    c, s = jnp.cos(jnp.deg2rad(degrees)), jnp.sin(jnp.deg2rad(degrees))
    zero, one = jnp.zeros(()), jnp.ones(())
    return jnp.array([[s, zero, c, x], [-c, zero, s, y], [zero, -one, zero, height], [zero, zero, zero, one]])


@partial(jax.jit, static_argnames=("name", "width", "height"))
def rig_camera(
    street: Street, time_index: int | Int[Array, ""], name: str = "front", width: int = 640, height: int = 384
) -> Camera:
    """Build a camera of the rig at one frame.

    Args:
        street: the street and the drive.
        time_index: frame of the drive.
        name: "front", "front_left" or "front_right".
        width: of the image, pixels.
        height: of the image, pixels.
    """
    focal = 0.5 * width / jnp.tan(jnp.deg2rad(street.horizontal_fov) / 2)
    zero, one = jnp.zeros(()), jnp.ones(())
    K = jnp.array([[focal, zero, 0.5 * width], [zero, focal, 0.5 * height], [zero, zero, one]])
    ego_from_lens = ego_from_camera(name, street.camera_height)
    pose = jnp.matmul(street.world_from_ego[time_index], ego_from_lens, precision="highest")
    return make_camera(K, pose, width, height)
