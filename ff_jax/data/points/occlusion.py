"""LiDAR points that a camera cannot see: a z-buffer for sparse points.

A LiDAR sits elsewhere than the camera, so it hits surfaces that something hides from the camera, and their points
show through the gaps between the points of what hides them. A point counts as hidden if points nearer to the camera
surround it: there are some in two opposite quadrants of a window as wide as the gap between beams is at its place.
Beside a silhouette, and on a road close to the horizon, nearer points lie on one side only, so those points stay.

Measured on the built-in street at 208 x 128 pixels, as the share of points off the true depth by more than 5 % and
0.3 m: with 32 beams 9.1 % before and 6.3 % after (6.3 % and 3.6 % lie behind; the rest shares a pixel with an edge),
for 10 % of the right ones; with 64 beams 6.1 % and 4.6 % (1.6 % and 0.4 % behind), for 6 % of the right ones.
"""

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy import ndimage
from scipy.spatial import cKDTree

SLACK = 1.25  # window per gap: gaps vary, and points fall anywhere within a pixel
NEARER = 0.05  # share of a point's depth by which what hides it is nearer
_QUERIES, _NEIGHBOURS, _LARGEST = 4000, 64, 0.05  # beams more than 0.05 radians apart are not neighbours
_BINS = 24  # of elevation

Array = np.ndarray


def beam_gaps(points: Float[Array, "N 3"]) -> Float[Array, "N"]:
    """Return the angle (radians) between beams at the elevation of every point of a sweep.

    From the points alone: the angle up to the next point within 45 degrees of straight up, which lies on the next
    beam because points of one beam are denser than beams are. Medians per band of elevation.

    Args:
        points: in the LiDAR frame, z up; any unit.
    """
    if len(points) <= _NEIGHBOURS:
        return np.full(len(points), _LARGEST)
    around = np.arctan2(points[:, 1], points[:, 0])
    up = np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]))
    angles = np.stack([around, up], -1)
    asked = np.linspace(0, len(points) - 1, min(len(points), _QUERIES)).astype(int)
    _, near = cKDTree(angles).query(angles[asked], _NEIGHBOURS)
    rise, aside = up[near] - up[asked, None], np.abs(around[near] - around[asked, None])
    gap = np.where(rise > aside, rise, np.inf)[:, 1:].min(1)
    found = gap < _LARGEST
    if not found.any():
        return np.full(len(points), _LARGEST)
    edges = np.quantile(up[asked][found], np.linspace(0, 1, _BINS + 1))
    band = np.clip(np.searchsorted(edges, up[asked][found], side="right") - 1, 0, _BINS - 1)
    known = np.unique(band)
    middles = [np.median(up[asked][found][band == i]) for i in known]
    medians = [np.median(gap[found][band == i]) for i in known]
    return np.interp(up, middles, medians)


def hidden(sparse: Float[Array, "H W"], radius: Int[Array, "H W"]) -> Bool[Array, "H W"]:
    """Return which points of a sparse depth image probably lie behind something.

    Args:
        sparse: depth in metres, 0 where there is no point.
        radius: half the width of the window around every point, pixels.
    """
    depth = np.where(sparse > 0, sparse, np.inf)
    result = np.zeros(depth.shape, bool)
    for size in np.unique(radius[sparse > 0]):
        mine = (radius == size) & (sparse > 0)
        rows = np.flatnonzero(mine.any(1))
        # Gaps go by elevation, so points of one window lie in few rows, and only their windows are looked at.
        band = slice(max(rows[0] - size, 0), rows[-1] + size + 1)
        near = depth[band]
        corner = {
            (down, right): _corner_minimum(near, int(size), down, right) < (1 - NEARER) * near
            for down in (False, True)
            for right in (False, True)
        }
        both = (corner[False, False] & corner[True, True]) | (corner[False, True] & corner[True, False])
        result[band] |= mine[band] & both
    return result


def _corner_minimum(depth: Float[Array, "H W"], size: int, down: bool, right: bool) -> Float[Array, "H W"]:
    """Return the smallest depth in the quadrant of a window of half width `size`; the pixel's row and column count."""
    # scipy's origin moves the window against the direction of its sign.
    width = size + 1
    shift = lambda forward: -(width // 2) if forward else (width - 1) // 2
    return ndimage.minimum_filter(depth, width, mode="constant", cval=np.inf, origin=(shift(down), shift(right)))


def nearest_in_pixels(
    pixels: Float[Array, "N 2"], depth: Float[Array, "N"], gaps: Float[Array, "N"], shape: tuple[int, int], focal: float
) -> tuple[Float32[Array, "H W"], Int[Array, "H W"]]:
    """Return the depth of the nearest point in every pixel (0: none), and the radius of its window for `hidden`.

    Args:
        pixels: where the points fall, inside the image, centres at .5.
        depth: camera z, metres.
        gaps: between beams at the points, radians.
        shape: height and width of the image.
        focal: pixels per radian.
    """
    order = np.argsort(-depth, kind="stable")  # of several writes to one pixel the last, the nearest, stays
    column, row = pixels[order].astype(int).T
    sparse, radius = np.zeros(shape, np.float32), np.ones(shape, int)
    sparse[row, column] = depth[order]
    radius[row, column] = np.maximum(np.ceil(SLACK * focal * gaps[order]), 1)
    return sparse, radius
