"""Find LiDAR points that are occluded for a camera: a z-buffer for sparse points.

The LiDAR and the camera have different positions, so the LiDAR hits surfaces that are occluded for the camera, and
their points project between the points of the occluder. A point counts as occluded if nearer points surround it: two
opposite quadrants of a window contain some, and the window is as wide as the local gap between beams. Beside a
silhouette, and on a road close to the horizon, nearer points are on one side only, so those points stay.

Measured on the synthetic street at 208 x 128 pixels, as the share of points whose depth is wrong by more than 5 % and
0.3 m: with 32 beams 9.1 % before and 6.3 % after (6.3 % and 3.6 % are behind a surface; the rest shares a pixel with
an edge), at the cost of 10 % of the correct points; with 64 beams 6.1 % and 4.6 % (1.6 % and 0.4 % behind), at the
cost of 6 %.
"""

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy import ndimage
from scipy.spatial import KDTree

SLACK = 1.25  # window per gap: gaps vary, and so does the position of a point within its pixel
NEARER = 0.05  # share of a point's depth by which its occluder is nearer
_QUERIES, _NEIGHBORS, _LARGEST = 4000, 64, 0.05  # beams more than 0.05 radians apart are not neighbors
_BINS = 24  # of elevation

Array = np.ndarray


def beam_gaps(points: Float[Array, "N 3"]) -> Float[Array, "N"]:
    """Estimate the angle (radians) between beams at the elevation of every point of a sweep.

    It is the angle to the nearest point within 45 degrees of straight up, which is on the next beam because the points
    of a beam are denser than the beams. Medians per band of elevation.

    Args:
        points: in the LiDAR frame, z up; any unit.
    """
    if len(points) <= _NEIGHBORS:
        return np.full(len(points), _LARGEST)
    around = np.arctan2(points[:, 1], points[:, 0])
    up = np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]))
    angles = np.stack([around, up], -1)
    query = np.linspace(0, len(points) - 1, min(len(points), _QUERIES)).astype(int)
    _, near = KDTree(angles).query(angles[query], _NEIGHBORS)
    rise, aside = up[near] - up[query, None], np.abs(around[near] - around[query, None])
    gap = np.where(rise > aside, rise, np.inf)[:, 1:].min(1)
    valid = gap < _LARGEST
    if not valid.any():
        return np.full(len(points), _LARGEST)
    elevation, gap = up[query][valid], gap[valid]
    edges = np.quantile(elevation, np.linspace(0, 1, _BINS + 1))
    band = np.clip(np.searchsorted(edges, elevation, side="right") - 1, 0, _BINS - 1)
    bands = np.unique(band)
    middles = [np.median(elevation[band == i]) for i in bands]
    medians = [np.median(gap[band == i]) for i in bands]
    return np.interp(up, middles, medians)


def occluded(sparse: Float[Array, "H W"], radius: Int[Array, "H W"]) -> Bool[Array, "H W"]:
    """Find the points of a sparse depth image that are probably occluded.

    Args:
        sparse: depth in meters, 0 where there is no point.
        radius: half the width of the window around every point, pixels.
    """
    depth = np.where(sparse > 0, sparse, np.inf)
    result = np.zeros(depth.shape, bool)
    for size in np.unique(radius[sparse > 0]):
        points = (radius == size) & (sparse > 0)
        rows = np.flatnonzero(points.any(1))
        # Gaps depend on elevation, so the points of one window size are in few rows; only these are filtered.
        band = slice(max(rows[0] - size, 0), rows[-1] + size + 1)
        near = depth[band]
        up_left, up_right, down_left, down_right = (
            corner < (1 - NEARER) * near for corner in _corner_minima(near, int(size))
        )
        opposite = (up_left & down_right) | (up_right & down_left)
        result[band] |= points[band] & opposite
    return result


def _corner_minima(depth: Float[Array, "H W"], size: int) -> list[Float[Array, "H W"]]:
    """Compute the smallest depth in every quadrant of a window of half width `size`, with the pixel's row and column.

    The quadrants of a pixel are one window at four places, so that one filter serves all of them.

    Returns:
        The minima up left, up right, down left and down right.
    """
    height, length = depth.shape
    padded, width = np.pad(depth, size, constant_values=np.inf), size + 1
    # The origin of SciPy moves the window against the direction of its sign: from a pixel on, to the right and down.
    smallest = ndimage.minimum_filter(padded, width, mode="constant", cval=np.inf, origin=-(width // 2))
    return [smallest[row : row + height, column : column + length] for row in (0, size) for column in (0, size)]


def nearest_in_pixels(
    pixels: Float[Array, "N 2"], depth: Float[Array, "N"], gaps: Float[Array, "N"], shape: tuple[int, int], focal: float
) -> tuple[Float32[Array, "H W"], Int[Array, "H W"]]:
    """Project points to a depth image with the nearest point in every pixel (0: none).

    Args:
        pixels: image coordinates of the points, inside the image, centers at .5.
        depth: camera z, meters.
        gaps: between beams at the points, radians.
        shape: height and width of the image.
        focal: pixels per radian.

    Returns:
        Depth in meters, and the radius in pixels of the window of every point for `occluded`.
    """
    column, row = pixels.astype(int).T
    pixel = row * shape[1] + column
    smallest, radius = np.full(shape[0] * shape[1], np.inf), np.ones(shape[0] * shape[1], int)
    np.minimum.at(smallest, pixel, depth)
    nearest = depth == smallest[pixel]
    radius[pixel[nearest]] = np.maximum(np.ceil(SLACK * focal * gaps[nearest]), 1)
    sparse = np.where(np.isfinite(smallest), smallest, 0).astype(np.float32)
    return sparse.reshape(shape), radius.reshape(shape)
