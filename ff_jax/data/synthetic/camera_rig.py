"""Cameras of the ego vehicle."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from ff_jax.data.synthetic.types import World
from ff_jax.render.camera import Camera, make_camera

# Name: (x forward, y left) in the ego frame, metres, and heading to the left, degrees.
RIG = {"front": (1.6, 0.0, 0.0), "front_left": (1.5, 0.35, 50.0), "front_right": (1.5, -0.35, -50.0)}


def ego_from_camera(name: str, height: Float[Array, ""]) -> Float[Array, "4 4"]:
    """Return the pose of a camera in the ego frame (x forward, y left, z up).

    Raises:
        ValueError: no camera of that name.
    """
    if name not in RIG:
        raise ValueError(f"{name=} is not a camera of the rig: choose one of {sorted(RIG)}.")
    x, y, degrees = RIG[name]
    c, s = jnp.cos(jnp.deg2rad(degrees)), jnp.sin(jnp.deg2rad(degrees))
    zero, one = jnp.zeros(()), jnp.ones(())
    return jnp.array([[s, zero, c, x], [-c, zero, s, y], [zero, -one, zero, height], [zero, zero, zero, one]])


@partial(jax.jit, static_argnames=("name", "width", "height"))
def rig_camera(
    world: World, time_index: int | Int[Array, ""], name: str = "front", width: int = 640, height: int = 384
) -> Camera:
    """Return a camera of the rig at one frame: "front", "front_left" or "front_right"."""
    focal = 0.5 * width / jnp.tan(jnp.deg2rad(world.horizontal_fov) / 2)
    zero, one = jnp.zeros(()), jnp.ones(())
    K = jnp.array([[focal, zero, 0.5 * width], [zero, focal, 0.5 * height], [zero, zero, one]])
    ego_from_lens = ego_from_camera(name, world.camera_height)
    pose = jnp.matmul(world.world_from_ego[time_index], ego_from_lens, precision="highest")
    return make_camera(K, pose, width, height)
