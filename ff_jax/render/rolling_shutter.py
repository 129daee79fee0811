"""Rolling shutters: every line of an image has a pose of its own.

The camera moves at constant velocity during the read-out, so `camera_from_world` of the line at share s of the image
(-1/2 at its first edge, 1/2 at its last, 0 in the middle) is the middle line's, followed by the motion s m: a turn by
s times the rotation vector and a shift by s times the translation. Which line a point falls on depends on the pose
and the other way round; two rounds of a fixed-point iteration settle it, because a point moves by a few lines only.
The shape of a Gaussian is that in the middle pose, and so are the derivatives that EIG takes: during a read-out of
20 ms a car turns by less than a degree.
"""

import jax
import jax.numpy as jnp
import jaxlie
from jax import Array
from jaxtyping import Float

from ff_jax.render.camera import Camera
from ff_jax.render.rigid import in_float32

ROUNDS = 2
_NEAREST = 0.1  # metres: what lies nearer is culled anyway


@in_float32
def seen_by_line(means: Float[Array, "N 3"], camera: Camera) -> Float[Array, "N 3"]:
    """Return where points (world, metres) appear to be for a camera that stands still in its middle pose.

    Differentiable in the points, the pose and the motion; the line that a point falls on is held constant.
    """
    rotation, translation = camera.camera_from_world[:3, :3], camera.camera_from_world[:3, 3]
    inside = jnp.einsum("ij,nj->ni", rotation, means, precision="highest") + translation
    moved = jax.lax.stop_gradient(inside)
    fixed = jax.lax.stop_gradient((camera, inside))
    for _ in range(ROUNDS):
        share = _share(moved, fixed[0])
        moved = _followed(fixed[1], share, fixed[0])
    moved = _followed(inside, _share(moved, fixed[0]), camera)
    return jnp.einsum("ji,nj->ni", rotation, moved - translation, precision="highest")


@in_float32
def straightened(directions: Float[Array, "H W 3"], camera: Camera) -> Float[Array, "H W 3"]:
    """Return directions in the middle pose's camera frame, given those in the frames of the pixels' own lines."""
    count = camera.width if camera.shutter.columns else camera.height
    share = (jnp.arange(count) + 0.5) / count - 0.5
    turn = jaxlie.SO3.exp(share[:, None] * camera.shutter.motion[:3]).as_matrix()
    lines = "lij,hli->hlj" if camera.shutter.columns else "lij,lwi->lwj"
    return jnp.einsum(lines, turn, directions, precision="highest")


def _share(inside: Float[Array, "N 3"], camera: Camera) -> Float[Array, "N"]:
    """Return the line that points in the camera frame fall on, in [-1/2, 1/2] of the image."""
    axis, size = (0, camera.width) if camera.shutter.columns else (1, camera.height)
    depth = jnp.maximum(inside[:, 2], _NEAREST)
    place = jnp.einsum("ij,nj->ni", camera.K, inside, precision="highest")[:, axis] / depth
    return jnp.clip(place / size - 0.5, -0.5, 0.5)


def _followed(inside: Float[Array, "N 3"], share: Float[Array, "N"], camera: Camera) -> Float[Array, "N 3"]:
    """Return points in the camera frame of their own line."""
    motion = share[:, None] * camera.shutter.motion
    return jaxlie.SO3.exp(motion[:, :3]).apply(inside) + motion[:, 3:]
