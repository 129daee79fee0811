"""The path of the cameras: what is recorded from a vehicle moves smoothly, whatever errors its poses have."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np
from flax import struct
from jax import Array
from jaxtyping import Bool, Float, Int

from ff_jax.render.rigid import apply_delta, in_float32

LEVER = 5.0  # metres: what a camera's turn by a radian is weighed against


@struct.dataclass
class CameraPath:
    """The recorded poses of F images, and for each the ones before and after it of the same camera."""

    camera_from_world: Float[Array, "F 4 4"]  # as recorded
    before: Int[Array, "F"]
    after: Int[Array, "F"]
    since: Float[Array, "F"]  # seconds from the image before
    until: Float[Array, "F"]  # seconds to the image after
    inner: Bool[Array, "F"]  # has both


def make_path(
    camera_from_world: Float[np.ndarray, "F 4 4"], times: Float[np.ndarray, "F"], cameras: Sequence[str]
) -> CameraPath:
    """Return the path of images with these poses, times (seconds) and names of cameras."""
    count = len(times)
    before, after = np.arange(count), np.arange(count)
    for name in set(cameras):
        own = np.array([i for i in np.argsort(times, kind="stable") if cameras[i] == name])
        before[own[1:]], after[own[:-1]] = own[:-1], own[1:]
    inner = (before != np.arange(count)) & (after != np.arange(count))
    seconds = lambda x: jnp.asarray(np.maximum(x, 1e-3), jnp.float32)
    poses = jnp.asarray(camera_from_world, jnp.float32)
    spans = seconds(times - times[before]), seconds(times[after] - times)
    return CameraPath(poses, jnp.asarray(before), jnp.asarray(after), *spans, jnp.asarray(inner))


@in_float32
def camera_roughness(path: CameraPath, deltas: Float[Array, "F 6"]) -> Float[Array, ""]:
    """Return the mean squared distance, metres^2, of corrected poses from the straight way between their neighbours.

    A rotation counts by how far it moves what is `LEVER` metres away. Braking at 5 m/s^2 bends a path by 2.5 cm in
    0.1 s.

    Args:
        path: as recorded.
        deltas: corrections of `camera_from_world` (see `rigid.apply_delta`).
    """
    poses = jaxlie.SE3.from_matrix(jax.vmap(apply_delta)(deltas, path.camera_from_world)).inverse()
    rotation, place = poses.rotation(), poses.translation()
    at = lambda index: jaxlie.SO3(rotation.wxyz[index])
    first = jnp.concatenate([place - place[path.before], LEVER * (at(path.before).inverse() @ rotation).log()], -1)
    second = jnp.concatenate([place[path.after] - place, LEVER * (rotation.inverse() @ at(path.after)).log()], -1)
    since, until = path.since[:, None], path.until[:, None]
    bend = (until * first - since * second) / (since + until)
    return jnp.sum(jnp.where(path.inner[:, None], bend**2, 0.0)) / jnp.maximum(path.inner.sum(), 1)
