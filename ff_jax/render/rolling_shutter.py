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
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Float
from scipy.spatial.transform import Rotation

from ff_jax.render.camera import Camera, Direction, Shutter, project_points
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
    middle, motion = middle_and_motion(np.asarray(first, np.float64), np.asarray(last, np.float64))
    return camera.replace(
        camera_from_world=jnp.asarray(np.linalg.inv(middle), jnp.float32),
        shutter=Shutter(jnp.asarray(motion, jnp.float32), direction),
    )


def middle_and_motion(
    world_from_first: Float[np.ndarray, "4 4"], world_from_last: Float[np.ndarray, "4 4"]
) -> tuple[Float[np.ndarray, "4 4"], Float[np.ndarray, "6"]]:
    """Convert the poses of a camera at its first and last line to the pose of the middle line and the motion.

    The motion m = (r, t) is that of `Shutter`: camera_from_world of the line at position s is (exp(s r), s t) after
    that of the middle line. With the poses C(-1/2) and C(1/2) of the two lines,
    C(1/2) C(-1/2)^-1 = (exp(r), (exp(r) + I) t / 2).

    Args:
        world_from_first: world_from_camera of the first line, meters.
        world_from_last: the same of the last line.

    Returns:
        world_from_camera of the middle line, and rotation vector [rad] and translation [m] of camera_from_world.
    """
    step = np.linalg.inv(world_from_last) @ world_from_first
    rotation = Rotation.from_matrix(step[:3, :3])
    translation = 2 * np.linalg.solve(step[:3, :3] + np.eye(3), step[:3, 3])
    half = np.eye(4)
    half[:3, :3] = Rotation.from_rotvec(0.5 * rotation.as_rotvec()).as_matrix()
    half[:3, 3] = 0.5 * translation
    return world_from_last @ half, np.append(rotation.as_rotvec(), translation)


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
