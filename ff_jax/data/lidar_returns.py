"""Drop what is no return of a LiDAR: points that are not finite or beyond every range."""

import functools
import logging

import numpy as np
from jaxtyping import Shaped

MAX_LIDAR_RANGE = 2000.0  # meters; farther points are errors, or in another unit

Array = np.ndarray


def drop_invalid(points: Shaped[Array, "..."], name: str) -> Shaped[Array, "M 4"]:
    """Drop points of a sweep that are not finite or farther than `MAX_LIDAR_RANGE`, and report their number once.

    Args:
        points: x, y, z in meters in the LiDAR frame, and intensity.
        name: of their file, for messages.

    Raises:
        ValueError: the array has another shape, or no point is left.
    """
    if points.ndim != 2 or points.shape[1] != 4:
        raise ValueError(f"{name}: the points have shape {points.shape}; expected (N, 4): x, y, z, intensity.")
    is_valid = (np.abs(points[:, :3]) <= MAX_LIDAR_RANGE).all(1) & np.isfinite(points[:, 3])
    count = int(is_valid.sum())
    if count == len(points):
        return points
    if count == 0:
        first = points[0].tolist()
        raise ValueError(
            f"{name}: none of {len(points)} LiDAR points is finite and within {MAX_LIDAR_RANGE:g} m (the first one is "
            f"{first}); convert them to meters or remove the sweep."
        )
    _report(name, len(points) - count, len(points))
    return points[is_valid]


@functools.cache  # one line per file, however often it is read
def _report(name: str, dropped: int, total: int) -> None:
    logging.getLogger(__name__).warning(
        "%s: dropped %d of %d LiDAR points, which are not finite or beyond %g m", name, dropped, total, MAX_LIDAR_RANGE
    )
