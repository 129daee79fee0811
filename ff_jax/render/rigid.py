"""Small rigid motions for camera corrections (SE(3) through jaxlie)."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import jaxlie
from jax import Array
from jaxtyping import Float

_P = ParamSpec("_P")
_R = TypeVar("_R")


def in_float32(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorate `function` to compute its matrix products in full float32.

    Needed for products inside jaxlie, which use the default precision: that of a GPU has 10 bits of mantissa (TF32),
    which is an error of centimeters in a pose.
    """

    @functools.wraps(function)
    def precise(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return precise


@in_float32
def apply_delta(delta: Float[Array, "6"], camera_from_world: Float[Array, "4 4"]) -> Float[Array, "4 4"]:
    """Compose `camera_from_world` with a small motion in the camera frame.

    Args:
        delta: rotation vector [rad] and translation [m]; zero does not change the pose.
        camera_from_world: rigid 4x4.
    """
    motion = jaxlie.SE3.from_rotation_and_translation(jaxlie.SO3.exp(delta[:3]), delta[3:])
    return motion.as_matrix() @ camera_from_world


@in_float32
def quats_to_matrices(quats: Float[Array, "*n 4"]) -> Float[Array, "*n 3 3"]:
    """Convert wxyz quaternions of any positive length to rotation matrices."""
    return jaxlie.SO3(quats / jnp.linalg.norm(quats, axis=-1, keepdims=True)).as_matrix()
