"""Where the camera is: the recorded path at any time and lateral shift, and the view of any pose."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ff_jax.data.scene_data import SceneData
from ff_jax.render.camera import make_camera
from ff_jax.render.trajectories import shift_laterally
from ff_jax.scene.scene import View
from ff_jax.train.batches import Feed

_GRAIN = 16  # pixels; fewer sizes mean fewer compilations


class RecordedPath(NamedTuple):
    """The path of the first recorded camera."""

    times: Float[np.ndarray, "T"]  # seconds, increasing
    poses: Float[np.ndarray, "T 4 4"]  # world_from_camera, metres
    egos: Float[np.ndarray, "T 4 4"]  # world_from_ego, metres
    exposures: Int[np.ndarray, "T"]
    fov: float  # vertical, radians
    aspect: float  # width over height, of what the camera sees


def recorded_path(log: SceneData, feed: Feed) -> RecordedPath:
    """Return the path of the first recorded camera of a log."""
    first = feed.frames[0]
    frames = sorted((f for f in feed.frames if f.camera == first.camera), key=lambda frame: frame.time)
    half_height, half_width = 0.5 * first.height / first.K[1, 1], 0.5 * first.width / first.K[0, 0]
    return RecordedPath(
        times=np.array([frame.time for frame in frames], np.float64),
        poses=np.stack([np.asarray(frame.world_from_camera, np.float64) for frame in frames]),
        egos=np.stack([np.asarray(log.world_from_ego[frame.time_index], np.float64) for frame in frames]),
        exposures=np.array([frame.exposure_id for frame in frames]),
        fov=float(2 * np.arctan(half_height)),
        aspect=float(half_width / half_height),
    )


def pose_at(path: RecordedPath, time: float | int, shift: float | int = 0.0) -> Float[np.ndarray, "4 4"]:
    """Return world_from_camera (metres) at `time` (seconds), `shift` metres to the left of the recorded path.

    Between recorded poses rotations take the shortest arc, positions a straight line; beyond the ends the camera
    stands still.
    """
    poses, egos = (_between(path.times, poses, float(time)) for poses in (path.poses, path.egos))
    return shift_laterally(poses, egos, float(shift))


def _between(times: Float[np.ndarray, "T"], poses: Float[np.ndarray, "T 4 4"], time: float) -> Float[np.ndarray, "4 4"]:
    from scipy.spatial.transform import Rotation, Slerp

    if len(times) == 1:
        return poses[0]
    time, out = float(np.clip(time, times[0], times[-1])), np.eye(4)
    out[:3, :3] = Slerp(times, Rotation.from_matrix(poses[:, :3, :3]))(time).as_matrix()
    out[:3, 3] = [np.interp(time, times, poses[:, axis, 3]) for axis in range(3)]
    return out


def frame_size(longest: int, aspect: float | int) -> tuple[int, int]:
    """Return the (width, height) in pixels to draw for a window of any `aspect` (width over height).

    There are few of them, as every size is compiled: aspects are the nearest of three per octave, sides multiples
    of 16. `view_at` makes up for the difference by pixels that are not square.
    """
    width, height = square_size(longest, 2 ** (round(3 * np.log2(aspect)) / 3))
    return max(round(width / _GRAIN), 1) * _GRAIN, max(round(height / _GRAIN), 1) * _GRAIN


def square_size(longest: int, aspect: float | int) -> tuple[int, int]:
    """Return the (width, height) in pixels of a picture with square pixels, whatever its `aspect`."""
    sides = (longest, longest / aspect) if aspect >= 1 else (longest * aspect, longest)
    return max(round(sides[0]), 1), max(round(sides[1]), 1)


def view_at(
    path: RecordedPath,
    world_from_camera: Float[np.ndarray, "4 4"],
    time: float | int,
    fov: float,
    aspect: float | int,
    size: tuple[int, int],
) -> View:
    """Return the view of a camera anywhere.

    Args:
        path: lends the exposure of its image nearest in time.
        world_from_camera: metres, OpenCV axes.
        time: seconds.
        fov: vertical field of view, radians.
        aspect: width over height of what is seen; pixels are not square where it differs from that of `size`.
        size: (width, height) of the picture in pixels.
    """
    width, height = size
    fy, fx = 0.5 * height / np.tan(fov / 2), 0.5 * width / (aspect * np.tan(fov / 2))
    K = np.array([[fx, 0, width / 2], [0, fy, height / 2], [0, 0, 1.0]])
    exposure = jnp.int32(path.exposures[np.argmin(np.abs(path.times - time))])
    none = jnp.int32(-1)
    camera = make_camera(K, world_from_camera, width, height)
    return View(camera, exposure, none, none, jnp.float32(time), exposure, jnp.float32(0))
