"""Temporal consistency: how far the colours of a surface change from one frame of a video to the next.

Each frame is compared with its successor warped back into it (Lai et al. 2018, arXiv 1808.00449, section 3.2: the
warping error). The warp needs no optical flow: it follows from the depth and the two cameras, as everything that
counts stands still. A pixel counts if it has a depth, is not masked, lands inside the next frame, and the depth found
there is that of the same surface, so that neither sees it through something else.

Even a real video has such an error: resampling blurs, surfaces shine, exposures drift. `excess` subtracts the error of
the real video, taken with the same depth, cameras and masks and so over the same pixels. A blurred video has a smaller
error than a real one, so the figure says nothing without one for sharpness beside it.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from ff_jax.data.scene_data import invert, transform

ROUNDING = 1e-6  # pixels


class Pinhole(NamedTuple):
    """Where a frame was taken from."""

    K: Float[np.ndarray, "3 3"]  # pixels, centres at .5
    world_from_camera: Float[np.ndarray, "4 4"]  # metres, OpenCV axes


class WarpError(NamedTuple):
    """Change of colour between two frames, in units of the full range of a channel; nan if no pixel counts."""

    mae: float
    rmse: float
    share: float  # of the pixels of the first frame that count


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
        frame_t: colours in [0, 1].
        frame_n: the next frame.
        depth_t: camera z of the first frame in metres, true or rendered; 0 or not finite in the sky.
        depth_n: camera z of the next frame.
        camera_t: of the first frame.
        camera_n: of the next frame.
        mask: pixels of the first frame that count: neither sky nor moving. None counts all that have a depth.
        tolerance: relative difference of depths up to which both frames see the same surface.

    Raises:
        ValueError: the frames and the depth maps do not have one size.
    """
    mask = np.ones(depth_t.shape, bool) if mask is None else mask
    shapes = frame_t.shape[:2], frame_n.shape[:2], depth_t.shape, depth_n.shape, mask.shape
    if len(set(shapes)) > 1:
        raise ValueError(f"frames, depth maps and mask of {shapes} do not fit together; give one size.")
    rows, columns = np.nonzero(mask & _known(depth_t))
    at, depth = reproject(np.stack([columns, rows], -1) + 0.5, depth_t[rows, columns], camera_t, camera_n)
    same = (depth > 0) & _inside(at, *depth_t.shape)
    # Inverse depth is linear in the image of a plane; 0 stands for the sky.
    known = _known(depth_n)
    inverse = np.where(known, 1 / np.where(known, depth_n, 1), 0)
    same[same] = np.abs(depth[same] * sample(inverse[..., None], at[same])[:, 0] - 1) <= tolerance
    if not same.any():
        return WarpError(np.nan, np.nan, 0.0)
    change = sample(frame_n, at[same]) - frame_t[rows[same], columns[same]]
    return WarpError(float(np.abs(change).mean()), float(np.sqrt((change**2).mean())), float(same.sum() / mask.size))


def reproject(
    pixels: Float[np.ndarray, "N 2"], depth: Float[np.ndarray, "N"], source: Pinhole, target: Pinhole
) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, "N"]]:
    """Return where points of one view lie in another: pixels (centres at .5) and camera z in metres."""
    rays = np.pad(pixels, ((0, 0), (0, 1)), constant_values=1) @ np.linalg.inv(source.K).T
    world = transform(np.asarray(source.world_from_camera, np.float64), rays * depth[:, None])
    points = transform(invert(np.asarray(target.world_from_camera, np.float64)), world)
    in_front = points[:, 2] > 0
    z = np.where(in_front, points[:, 2], 1.0)
    return (points @ target.K.T)[:, :2] / z[:, None], points[:, 2]


def sample(image: Float[np.ndarray, "H W C"], at: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N C"]:
    """Return bilinear samples at pixel coordinates (centres at .5) between the outermost centres."""
    place = at.T[::-1] - 0.5
    channels = [ndimage.map_coordinates(image[..., c], place, order=1, mode="nearest") for c in range(image.shape[-1])]
    return np.stack(channels, -1)


def mean(pairs: Iterable[WarpError]) -> WarpError:
    """Average over pairs of frames (the RMS by its square), leaving out pairs without a pixel in common.

    Raises:
        ValueError: there is no pair.
    """
    rows = np.array([*pairs], np.float64).reshape(-1, 3)
    if not len(rows):
        raise ValueError("the warping error of no pair of frames is not defined; give at least two frames.")
    used = rows[rows[:, 2] > 0]
    if not len(used):
        return WarpError(np.nan, np.nan, 0.0)
    return WarpError(float(used[:, 0].mean()), float(np.sqrt((used[:, 1] ** 2).mean())), float(rows[:, 2].mean()))


def excess(video: WarpError, real: WarpError) -> float:
    """Return by how much the mean absolute change exceeds that of the real video; negative if it is smoother."""
    return video.mae - real.mae


def _known(depth: Float[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    return np.isfinite(depth) & (depth > 0)


def _inside(at: Float[np.ndarray, "N 2"], height: int, width: int) -> Bool[np.ndarray, "N"]:
    """Return which pixels lie between the outermost centres: beyond them there is nothing to interpolate."""
    low, high = 0.5 - ROUNDING, np.array([width, height]) - 0.5 + ROUNDING
    return ((at >= low) & (at <= high)).all(1)
