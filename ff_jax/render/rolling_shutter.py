"""Rolling shutters: every line of an image has its own camera pose.

The camera moves at constant velocity during the readout. The line at position s of the image (-1/2 at the edge that is
read first, 1/2 at the other one, 0 in the middle) has the pose of the middle line followed by the motion s m: a
rotation by s times the rotation vector and a translation by s times the translation. The line of a point depends on the
pose, and the pose depends on the line; two fixed-point iterations are sufficient, because a point moves by a few lines
only. The shape of a Gaussian in a pinhole camera, and the derivatives for EIG there, are those of the middle pose:
during a readout of 20 ms a car rotates by less than a degree. Behind a lens, every sigma point has the pose of its own
line.
"""

import jax
import jax.numpy as jnp
import jaxlie
from jax import Array
from jaxtyping import ArrayLike, Float

from ff_jax.render.camera import Camera, Direction, Shutter, invert_rigid, project_points
from ff_jax.render.rigid import in_float32

ITERATIONS = 2
_NEAREST = 0.1  # meters: smallest depth that is divided by; nearer points are culled


@in_float32
def means_at_readout(means: Float[Array, "N 3"], camera: Camera) -> Float[Array, "N 3"]:
    """Move points (world, meters) so that a camera in the middle pose projects them to their place in the image.

    Differentiable in the points, the pose and the motion; the line of a point is held constant.
    """
    rotation, translation = camera.camera_from_world[:3, :3], camera.camera_from_world[:3, 3]
    in_camera = jnp.einsum("ij,nj->ni", rotation, means, precision="highest") + translation
    moved = jax.lax.stop_gradient(in_camera)
    constant_camera, constant_points = jax.lax.stop_gradient((camera, in_camera))
    for _ in range(ITERATIONS):
        position = _readout_position(moved, constant_camera)
        moved = _in_line_frame(constant_points, position, constant_camera)
    moved = _in_line_frame(in_camera, _readout_position(moved, constant_camera), camera)
    return jnp.einsum("ji,nj->ni", rotation, moved - translation, precision="highest")


@in_float32
def rays_at_readout(directions: Float[Array, "H W 3"], camera: Camera) -> Float[Array, "H W 3"]:
    """Rotate ray directions from the frames of their lines to the camera frame of the middle pose."""
    shutter = _shutter(camera)
    count = camera.width if shutter.columns else camera.height
    position = (jnp.arange(count) + 0.5) / count - 0.5
    position = -position if shutter.is_reversed else position
    rotation = jaxlie.SO3.exp(position[:, None] * shutter.motion[:3]).as_matrix()
    product = "lij,hli->hlj" if shutter.columns else "lij,lwi->lwj"
    return jnp.einsum(product, rotation, directions, precision="highest")


def with_readout(
    camera: Camera,
    first: Float[ArrayLike, "4 4"],
    last: Float[ArrayLike, "4 4"],
    direction: Direction = "top_to_bottom",
) -> Camera:
    """Give a camera the rolling shutter that moves it from its pose at one edge of the image to that at the other.

    Args:
        camera: whose pose and shutter are replaced.
        first: `world_from_camera` when the readout begins, at the edge where it begins.
        last: `world_from_camera` when it ends, at the opposite edge.
        direction: of the readout.
    """
    start, end = (invert_rigid(jnp.asarray(pose, jnp.float32)) for pose in (first, last))
    with jax.default_matmul_precision("highest"):
        turn = end[:3, :3] @ start[:3, :3].T
        rotation = jaxlie.SO3.from_matrix(turn).log()
        # Both halves of the motion move the center: end - turn start = (turn + 1) translation / 2.
        translation = 2 * jnp.linalg.solve(turn + jnp.eye(3), end[:3, 3] - turn @ start[:3, 3])
        half = jaxlie.SO3.exp(0.5 * rotation).as_matrix()
        middle = start.at[:3, :3].set(half @ start[:3, :3])
        middle = middle.at[:3, 3].set(half @ (start[:3, 3] + 0.5 * translation))
    return camera.replace(
        camera_from_world=middle, shutter=Shutter(jnp.concatenate([rotation, translation]), direction)
    )


def _shutter(camera: Camera) -> Shutter:
    """Return the shutter of a camera that has one."""
    assert camera.shutter is not None, "this camera has no rolling shutter"
    return camera.shutter


def _readout_position(points: Float[Array, "N 3"], camera: Camera) -> Float[Array, "N"]:
    """Compute the line of points in the camera frame, as its position in the image from -1/2 to 1/2."""
    shutter = _shutter(camera)
    axis, size = (0, camera.width) if shutter.columns else (1, camera.height)
    if camera.lens is None:
        depth = jnp.maximum(points[:, 2], _NEAREST)
        pixel = jnp.einsum("ij,nj->ni", camera.K, points, precision="highest")[:, axis] / depth
    else:
        pixel = project_points(camera, points)[0][:, axis]
    position = jnp.clip(pixel / size - 0.5, -0.5, 0.5)
    return -position if shutter.is_reversed else position


def _in_line_frame(points: Float[Array, "N 3"], position: Float[Array, "N"], camera: Camera) -> Float[Array, "N 3"]:
    """Move points from the camera frame of the middle pose to that of their line."""
    motion = position[:, None] * _shutter(camera).motion
    return jaxlie.SO3.exp(motion[:, :3]).apply(points) + motion[:, 3:]
