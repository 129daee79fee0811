"""Score a rendered depth map against LiDAR: projection, occlusion, and sums over frames.

A LiDAR is usually mounted higher than the camera, so it hits surfaces that are occluded in the image. Their points
project between the points of nearer surfaces, where each is an error of many meters even for a perfect depth map.
`remove_occluded` drops them.

The measures are those of Eigen et al. 2014 (arXiv 1406.2283), section 4.2: mean absolute and root mean square error,
absolute relative error, and the share of points whose ratio of depths is below 1.25; and the median absolute error,
which remaining occluded points do not affect. All are means over points, not over frames.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy import ndimage

from ff_jax.data.points.visibility import NEAR
from ff_jax.data.scene_data import invert_rigid, transform

BIN = 0.01  # meters, bin width of the histogram for the median
LARGEST = 100.0  # meters; larger absolute errors share the last bin


class DepthSums(NamedTuple):
    """Sums over any number of frames; `add` combines two."""

    absolute: float  # meters
    squared: float  # square meters
    relative: float
    inliers: int  # points with max(a / b, b / a) < 1.25
    points: int  # points with a rendered depth
    measured: int  # points with or without one
    histogram: Int[np.ndarray, "bins"]  # of absolute errors, in steps of BIN


class DepthScore(NamedTuple):
    """Errors of a rendered depth; NaN if no point has one."""

    mae: float  # meters
    rmse: float  # meters
    abs_rel: float
    delta: float  # share of points with max(a / b, b / a) < 1.25
    median: float  # of the absolute error, meters, to within BIN; LARGEST if it is larger
    count: int  # points
    coverage: float  # share of the measured points that have a rendered depth


def project_sweep(
    points_world: Float[np.ndarray, "N 3"],
    K: Float[np.ndarray, "3 3"],
    world_from_camera: Float[np.ndarray, "4 4"],
    width: int,
    height: int,
) -> Float32[np.ndarray, "{height} {width}"]:
    """Project a LiDAR sweep: camera z (meters) of the nearest point in every pixel, 0 without one.

    Args:
        points_world: meters; sweeps of a static scene may be concatenated.
        K: intrinsics of a pinhole image, pixels.
        world_from_camera: OpenCV axes, meters.
        width: pixels.
        height: pixels.
    """
    points = transform(invert_rigid(np.asarray(world_from_camera, np.float64)), points_world)
    points = points[points[:, 2] > NEAR]
    pixels = (points @ K.T)[:, :2] / points[:, 2:]
    inside = (pixels >= 0).all(1) & (pixels < (width, height)).all(1)
    column, row = pixels[inside].astype(int).T
    depth = np.full((height, width), np.inf, np.float32)
    np.minimum.at(depth, (row, column), points[inside, 2].astype(np.float32))
    return np.where(np.isinf(depth), np.float32(0), depth)


def remove_occluded(
    sparse: Float[np.ndarray, "H W"], radius: int = 4, tolerance: float = 0.1
) -> Float32[np.ndarray, "H W"]:
    """Drop points of a sparse depth map that are probably occluded.

    A point is dropped if another one within `radius` pixels along both axes is nearer by more than `tolerance`. That
    also drops points beside a silhouette, and on a road close to the horizon. On the synthetic street at 960 x 640 with
    true depth: with 64 beams 3.9 % of the points are occluded, of which 0.4 % remain, and 92 % of the others are kept;
    with 32 beams 4.3 %, 1.9 % and 97 %. The radius should be about the gap between beams, in pixels.

    Args:
        sparse: depth in meters, 0 where there is no point.
        radius: pixels.
        tolerance: relative difference of depths within one surface.

    Raises:
        ValueError: the radius is below 1 or the tolerance is negative.
    """
    if radius < 1 or tolerance < 0:
        raise ValueError(f"{radius=} must be at least 1 pixel and {tolerance=} not negative.")
    depth = np.where(sparse > 0, sparse, np.inf)
    nearest = ndimage.minimum_filter(depth, 2 * radius + 1, mode="constant", cval=np.inf)
    return np.where(depth <= (1 + tolerance) * nearest, sparse, 0).astype(np.float32)


def depth_sums(depth: Float[np.ndarray, "H W"], sparse: Float[np.ndarray, "H W"], max_depth: float = 80.0) -> DepthSums:
    """Compare one rendered depth map with one sparse one.

    Args:
        depth: camera z, meters. NaN, for example at low opacity, leaves the point out and lowers the coverage.
        sparse: measured depth, meters; 0 or NaN without a measurement.
        max_depth: farther measurements do not count, meters.
    """
    measured = (sparse > 0) & (sparse <= max_depth)
    valid = measured & np.isfinite(depth)
    truth, rendered = sparse[valid].astype(np.float64), depth[valid].astype(np.float64)
    error = np.abs(rendered - truth)
    bins = np.minimum(error, LARGEST) / BIN
    inliers = (rendered < 1.25 * truth) & (truth < 1.25 * rendered)
    return DepthSums(
        float(error.sum()),
        float((error**2).sum()),
        float((error / truth).sum()),
        int(inliers.sum()),
        len(error),
        int(measured.sum()),
        np.bincount(bins.astype(int), minlength=round(LARGEST / BIN) + 1),
    )


def add(a: DepthSums, b: DepthSums) -> DepthSums:
    """Combine the sums of two sets of frames."""
    return DepthSums._make(x + y for x, y in zip(a, b, strict=True))


def aggregate(frames: Iterable[DepthSums]) -> DepthScore:
    """Compute the scores over the points of all frames.

    Raises:
        ValueError: there is no frame.
    """
    frames = [*frames]
    if not frames:
        raise ValueError("the depth error needs at least one frame.")
    total = frames[0]
    for frame in frames[1:]:
        total = add(total, frame)
    if not total.points:
        return DepthScore(np.nan, np.nan, np.nan, np.nan, np.nan, 0, 0.0 if total.measured else np.nan)
    absolute, squared, relative = (value / total.points for value in total[:3])
    return DepthScore(
        absolute,
        float(np.sqrt(squared)),
        relative,
        total.inliers / total.points,
        _median(total.histogram),
        total.points,
        total.points / total.measured,
    )


def score(depth: Float[np.ndarray, "H W"], sparse: Float[np.ndarray, "H W"], max_depth: float = 80.0) -> DepthScore:
    """Compute the scores of one frame; the arguments are those of `depth_sums`."""
    return aggregate([depth_sums(depth, sparse, max_depth)])


def _median(histogram: Int[np.ndarray, "bins"]) -> float:
    """Compute the median of a histogram, interpolated within its bin."""
    below = np.cumsum(histogram)
    half = below[-1] / 2
    index = int(np.searchsorted(below, half))
    fraction = (half - (below[index] - histogram[index])) / histogram[index]
    return float(min((index + fraction) * BIN, LARGEST))
