"""Cameras of the viewer: the recorded path at any time and lateral shift, and the view of any pose."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation, Slerp

from ff_jax.data.recording import Recording
from ff_jax.render.camera import make_camera
from ff_jax.render.trajectories import shift_laterally
from ff_jax.scene import View

_SIZE_STEP = 16  # pixels; fewer sizes mean fewer compilations


class RecordedPath(NamedTuple):
    """The path of the first recorded camera."""

    times: Float[np.ndarray, "T"]  # seconds, increasing
    poses: Float[np.ndarray, "T 4 4"]  # world_from_camera, meters
    egos: Float[np.ndarray, "T 4 4"]  # world_from_ego, meters
    exposures: Int[np.ndarray, "T"]
    fov: float  # vertical, radians
    aspect: float  # width over height of the field of view


def recorded_path(recording: Recording) -> RecordedPath:
    """Collect the path of the first camera of a recording."""
    first = recording.frames[0]
    frames = sorted((f for f in recording.frames if f.camera == first.camera), key=lambda frame: frame.time)
    half_height, half_width = 0.5 * first.height / first.K[1, 1], 0.5 * first.width / first.K[0, 0]
    egos = recording.log.world_from_ego
    return RecordedPath(
        times=np.array([frame.time for frame in frames], np.float64),
        poses=np.stack([np.asarray(frame.world_from_camera, np.float64) for frame in frames]),
        egos=np.stack([np.asarray(egos[frame.time_index], np.float64) for frame in frames]),
        exposures=np.array([frame.exposure_id for frame in frames]),
        fov=float(2 * np.arctan(half_height)),
        aspect=float(half_width / half_height),
    )


def pose_at(path: RecordedPath, time: float | int, shift: float | int = 0.0) -> Float[np.ndarray, "4 4"]:
    """Compute world_from_camera (meters) at `time` (seconds), `shift` meters to the left of the recorded path.

    Rotations are interpolated along the shortest arc, positions along a straight line. Before the first and after the
    last recorded time the pose is constant.
    """
    poses, egos = (_interpolate(path.times, poses, float(time)) for poses in (path.poses, path.egos))
    return shift_laterally(poses, egos, float(shift))


def _interpolate(
    times: Float[np.ndarray, "T"], poses: Float[np.ndarray, "T 4 4"], time: float
) -> Float[np.ndarray, "4 4"]:
    if len(times) == 1:
        return poses[0]
    time, out = float(np.clip(time, times[0], times[-1])), np.eye(4)
    out[:3, :3] = Slerp(times, Rotation.from_matrix(poses[:, :3, :3]))(time).as_matrix()
    out[:3, 3] = [np.interp(time, times, poses[:, axis, 3]) for axis in range(3)]
    return out


def frame_size(longest: int, aspect: float | int) -> tuple[int, int]:
    """Select the (width, height) in pixels to render for a window of any `aspect` (width over height).

    Every size is compiled, so there are few of them: aspects are rounded to three per octave, sides to multiples of
    16. `view_at` compensates the difference with pixels that are not square.
    """
    width, height = square_size(longest, 2 ** (round(3 * np.log2(aspect)) / 3))
    return max(round(width / _SIZE_STEP), 1) * _SIZE_STEP, max(round(height / _SIZE_STEP), 1) * _SIZE_STEP


def square_size(longest: int, aspect: float | int) -> tuple[int, int]:
    """Compute the (width, height) in pixels of an image with square pixels and any `aspect`."""
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
    """Build the view of a camera anywhere.

    Args:
        path: its image nearest in time gives the exposure.
        world_from_camera: meters, OpenCV axes.
        time: seconds.
        fov: vertical field of view, radians.
        aspect: width over height of the field of view; pixels are not square if it differs from that of `size`.
        size: (width, height) of the image in pixels.
    """
    width, height = size
    fy, fx = 0.5 * height / np.tan(fov / 2), 0.5 * width / (aspect * np.tan(fov / 2))
    K = np.array([[fx, 0, width / 2], [0, fy, height / 2], [0, 0, 1.0]])
    exposure = jnp.int32(path.exposures[np.argmin(np.abs(path.times - time))])
    return View(
        camera=make_camera(K, world_from_camera, width, height),
        exposure=exposure,
        frame=jnp.int32(-1),
        rig=jnp.int32(-1),
        time=jnp.float32(time),
        exposure_after=exposure,
        share_after=jnp.float32(0),
    )
