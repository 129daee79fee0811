"""Smoothness prior over the camera path: vehicles move smoothly, but errors of their recorded poses are not smooth."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np
from flax import struct
from jax import Array
from jaxtyping import Bool, Float, Int

from ff_jax.render.rigid import apply_delta, in_float32

ROTATION_ARM = 5.0  # meters: a rotation by one radian is weighted like this translation


class CameraPath(struct.PyTreeNode):
    """The recorded poses of F images, with the images before and after each that are of the same camera."""

    camera_from_world: Float[Array, "F 4 4"]  # as recorded
    before: Int[Array, "F"]
    after: Int[Array, "F"]
    since: Float[Array, "F"]  # seconds from the image before
    until: Float[Array, "F"]  # seconds to the image after
    inner: Bool[Array, "F"]  # whether there is an image before and one after


def make_path(
    camera_from_world: Float[np.ndarray, "F 4 4"], times: Float[np.ndarray, "F"], cameras: Sequence[str]
) -> CameraPath:
    """Make the path of images from their poses, times (seconds) and names of cameras."""
    count = len(times)
    before, after = np.arange(count), np.arange(count)
    for name in set(cameras):
        own = np.array([i for i in np.argsort(times, kind="stable") if cameras[i] == name])
        before[own[1:]], after[own[:-1]] = own[:-1], own[1:]
    inner = (before != np.arange(count)) & (after != np.arange(count))

    def seconds(span: Float[np.ndarray, "F"]) -> Float[Array, "F"]:
        return jnp.asarray(np.maximum(span, 1e-3), jnp.float32)

    poses = jnp.asarray(camera_from_world, jnp.float32)
    spans = seconds(times - times[before]), seconds(times[after] - times)
    return CameraPath(poses, jnp.asarray(before), jnp.asarray(after), *spans, jnp.asarray(inner))


@in_float32
def camera_roughness(path: CameraPath, deltas: Float[Array, "F 6"]) -> Float[Array, ""]:
    """Compute the mean squared distance (meters^2) of corrected poses from the straight path between neighbors.

    A rotation counts as the displacement of a point at a distance of `ROTATION_ARM`. For comparison, braking at
    5 m/s^2 bends a path by 2.5 cm in 0.1 s.

    Args:
        path: as recorded.
        deltas: corrections of `camera_from_world` (see `rigid.apply_delta`).
    """
    poses = jaxlie.SE3.from_matrix(jax.vmap(apply_delta)(deltas, path.camera_from_world)).inverse()
    rotation, center = poses.rotation(), poses.translation()
    rotation_before, rotation_after = (jaxlie.SO3(rotation.wxyz[index]) for index in (path.before, path.after))
    turn = ROTATION_ARM * (rotation_before.inverse() @ rotation).log()
    first = jnp.concatenate([center - center[path.before], turn], -1)
    turn = ROTATION_ARM * (rotation.inverse() @ rotation_after).log()
    second = jnp.concatenate([center[path.after] - center, turn], -1)
    since, until = path.since[:, None], path.until[:, None]
    bend = (until * first - since * second) / (since + until)
    return jnp.sum(jnp.where(path.inner[:, None], bend**2, 0.0)) / jnp.maximum(path.inner.sum(), 1)
