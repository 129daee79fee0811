"""Measure temporal consistency: the change of a surface's color between consecutive frames of a video.

Each frame is compared with its successor warped back into it (the warping error of Lai et al. 2018, arXiv 1808.00449,
section 3.2). The warp follows from the depth and the two cameras, because only static pixels count. A pixel counts if
it has a depth, is not masked, projects into the next frame, and both frames see the same surface there.

A real video has such an error too: from resampling, reflections and exposure. `excess_change` subtracts the error of
the real video over the same pixels. A blurred video has a smaller error than a real one: report a measure of sharpness
as well.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from ff_jax.data.scene_data import invert_rigid, transform

ROUNDING = 1e-6  # pixels


class Pinhole(NamedTuple):
    """A pinhole camera."""

    K: Float[np.ndarray, "3 3"]  # pixels, centers at .5
    world_from_camera: Float[np.ndarray, "4 4"]  # meters, OpenCV axes


class WarpError(NamedTuple):
    """Change of color between two frames, in units of the full range of a channel; NaN if no pixel counts."""

    mae: float
    rmse: float
    share: float  # fraction of the pixels of the first frame that count


def warp_error(
    frame_t: Float[np.ndarray, "H W 3"],
    frame_n: Float[np.ndarray, "_ _ 3"],
    depth_t: Float[np.ndarray, "_ _"],
    depth_n: Float[np.ndarray, "_ _"],
    camera_t: Pinhole,
    camera_n: Pinhole,
    mask: Bool[np.ndarray, "_ _"] | None = None,
    *,
    tolerance: float = 0.05,
) -> WarpError:
    """Compare a frame with the next one, warped back into it. All arrays are H x W.

    Args:
        frame_t: first frame, colors in [0, 1].
        frame_n: next frame.
        depth_t: camera z of the first frame in meters, true or rendered; 0 or not finite in the sky.
        depth_n: camera z of the next frame.
        camera_t: camera of the first frame.
        camera_n: camera of the next frame.
        mask: pixels of the first frame that count: neither sky nor moving. None counts all with a depth.
        tolerance: largest relative difference of depths on the same surface.

    Raises:
        ValueError: the frames and the depth maps differ in size.
    """
    mask = np.ones(depth_t.shape, bool) if mask is None else mask
    shapes = frame_t.shape[:2], frame_n.shape[:2], depth_t.shape, depth_n.shape, mask.shape
    if len(set(shapes)) > 1:
        raise ValueError(f"frames, depth maps and mask must have one size, got {shapes}.")
    rows, columns = np.nonzero(mask & _has_depth(depth_t))
    pixels, depth = reproject(np.stack([columns, rows], -1) + 0.5, depth_t[rows, columns], camera_t, camera_n)
    same = (depth > 0) & _is_inside(pixels, *depth_t.shape)
    # Inverse depth is linear in the image of a plane; 0 is the sky.
    valid = _has_depth(depth_n)
    inverse = np.where(valid, 1 / np.where(valid, depth_n, 1), 0)
    same[same] = np.abs(depth[same] * sample(inverse[..., None], pixels[same])[:, 0] - 1) <= tolerance
    if not same.any():
        return WarpError(np.nan, np.nan, 0.0)
    change = sample(frame_n, pixels[same]) - frame_t[rows[same], columns[same]]
    return WarpError(float(np.abs(change).mean()), float(np.sqrt((change**2).mean())), float(same.sum() / mask.size))


def reproject(
    pixels: Float[np.ndarray, "N 2"], depth: Float[np.ndarray, "N"], source: Pinhole, target: Pinhole
) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, "N"]]:
    """Project points of one view into another: pixels (centers at .5) and camera z in meters."""
    rays = np.pad(pixels, ((0, 0), (0, 1)), constant_values=1) @ np.linalg.inv(source.K).T
    world = transform(np.asarray(source.world_from_camera, np.float64), rays * depth[:, None])
    points = transform(invert_rigid(np.asarray(target.world_from_camera, np.float64)), world)
    in_front = points[:, 2] > 0
    z = np.where(in_front, points[:, 2], 1.0)
    return (points @ target.K.T)[:, :2] / z[:, None], points[:, 2]


def sample(image: Float[np.ndarray, "H W C"], pixels: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N C"]:
    """Sample an image bilinearly at pixel coordinates (centers at .5) between the outermost centers."""
    index = pixels.T[::-1] - 0.5
    channels = [ndimage.map_coordinates(image[..., c], index, order=1, mode="nearest") for c in range(image.shape[-1])]
    return np.stack(channels, -1)


def mean_warp_error(pairs: Iterable[WarpError]) -> WarpError:
    """Average over pairs of frames (the RMS by its square), without pairs that share no pixel.

    Raises:
        ValueError: there is no pair.
    """
    rows = np.array([*pairs], np.float64).reshape(-1, 3)
    if not len(rows):
        raise ValueError("the warping error needs at least one pair of frames.")
    valid = rows[rows[:, 2] > 0]
    if not len(valid):
        return WarpError(np.nan, np.nan, 0.0)
    return WarpError(float(valid[:, 0].mean()), float(np.sqrt((valid[:, 1] ** 2).mean())), float(rows[:, 2].mean()))


def excess_change(video: WarpError, real: WarpError) -> float:
    """Subtract the mean absolute change of the real video; negative if the video is smoother."""
    return video.mae - real.mae


def _has_depth(depth: Float[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    return np.isfinite(depth) & (depth > 0)


def _is_inside(pixels: Float[np.ndarray, "N 2"], height: int, width: int) -> Bool[np.ndarray, "N"]:
    """Test which pixels lie between the outermost centers, where the image can be interpolated."""
    low, high = 0.5 - ROUNDING, np.array([width, height]) - 0.5 + ROUNDING
    inside = (pixels >= low) & (pixels <= high)
    return inside[:, 0] & inside[:, 1]
