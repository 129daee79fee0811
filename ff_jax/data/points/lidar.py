"""LiDAR points to start from, and LiDAR depth images."""

import numpy as np
from jaxtyping import Float, Float32, Int, Shaped

from ff_jax.data.points.occlusion import beam_gaps, nearest_in_pixels, occluded
from ff_jax.data.points.visibility import NEAR, color_points, inside_box, project_points
from ff_jax.data.scene_data import Frame, LidarSweep, SceneData, boxes_at, moving_tracks, transform

BOX_MARGIN = 0.2  # meters added to the boxes of moving tracks: labels are tight and boxes lag behind
COLOR_WINDOW = 3.0  # seconds; LiDAR points lie ahead at first, so a front camera passes them soon
POINT_CAPACITY = 4_000_000  # LiDAR points in memory at a time, or `CAPACITY_FACTOR` times the requested ones
CAPACITY_FACTOR = 8

Array = np.ndarray


def lidar_points(
    scene: SceneData, max_points: int, rng: np.random.Generator, *, voxel: float = 0.05, max_range: float = 120.0
) -> tuple[Float32[Array, "M 3"], Float32[Array, "M 3"]]:
    """Merge the static LiDAR points of all sweeps, with the color of the training camera nearest in time.

    Points outside all training images are dropped.

    Args:
        scene: a log with sweeps.
        max_points: at most this many points, sampled evenly.
        rng: samples the points.
        voxel, max_range: as in `merged_points`.

    Returns:
        Positions (meters, world) and colors in [0, 1].
    """
    # A front camera sees about a quarter of a revolution, so four times the points are enough to color.
    points = merged_points(scene, 4 * max_points, rng, voxel=voxel, max_range=max_range)
    rgb, visible = color_points(scene, points[:, :3], points[:, 3], window=COLOR_WINDOW)
    xyz, rgb = draw_rows(rng, max_points, points[visible, :3].astype(np.float32), rgb[visible])
    return xyz, rgb


def merged_points(
    scene: SceneData, max_points: int, rng: np.random.Generator, *, voxel: float = 0.05, max_range: float = 120.0
) -> Float[Array, "M 4"]:
    """Merge the static LiDAR points of all sweeps.

    Points inside the boxes of moving tracks are removed, and one point is kept per voxel. Where a long log fills more
    than `POINT_CAPACITY` voxels, a random part of them is kept, so that memory does not grow with the log.

    Args:
        scene: a log with sweeps.
        max_points: at most this many points, sampled evenly.
        rng: samples the points.
        voxel: side of a voxel, meters; 0 keeps all points.
        max_range: meters from the LiDAR; farther points are dropped.

    Returns:
        Positions (meters, world), and times (seconds) in the fourth column.
    """
    moving, share = moving_tracks(scene), 1.0
    points, pending, num_pending = np.zeros((0, 4)), [], 0
    for sweep in scene.sweeps:
        pending.append(_subsample_voxels(_static_points(scene, sweep, moving, max_range), share, voxel))
        num_pending += len(pending[-1])
        # Merging only once the points have doubled costs two sorts of the whole, not one per sweep.
        if num_pending > max(len(points), 1_000_000) or sweep is scene.sweeps[-1]:
            merged = np.concatenate([points, *pending])
            points, pending, num_pending = merged[_first_per_voxel(merged[:, :3], voxel)], [], 0
            while len(points) > max(POINT_CAPACITY, CAPACITY_FACTOR * max_points // 4):
                share /= 2
                points = _subsample_voxels(points, share, voxel)
    (points,) = draw_rows(rng, max_points, points)
    return points


def lidar_depth(
    scene: SceneData, frame: Frame, *, min_depth: float = NEAR, max_depth: float = 100.0
) -> Float32[Array, "H W"]:
    """Project the sweeps of a frame's time index to a depth image (camera z, meters); 0 where there is no point.

    A pixel holds its nearest point. Points that a nearer surface occludes are dropped (see `occlusion`).

    Args:
        scene: a log with sweeps.
        frame: the camera and the time.
        min_depth: meters; nearer points are dropped.
        max_depth: meters; farther points are dropped.
    """
    parts = [(np.zeros((0, 2)), np.zeros(0), np.zeros(0))]
    for sweep in scene.sweeps:
        if sweep.time_index == frame.time_index:
            local, _ = sweep.load()
            pixels, depth, inside = project_points(frame, transform(sweep.world_from_lidar, local.astype(float)))
            inside &= (depth >= min_depth) & (depth <= max_depth)
            parts.append((pixels[inside], depth[inside], beam_gaps(local)[inside]))
    pixels, depth, gaps = (np.concatenate(part) for part in zip(*parts, strict=True))
    shape = frame.height, frame.width
    sparse, radius = nearest_in_pixels(pixels, depth, gaps, shape, float(frame.K[1, 1]))
    return np.where(occluded(sparse, radius), np.float32(0), sparse)


def _static_points(
    scene: SceneData, sweep: LidarSweep, moving: frozenset[str], max_range: float
) -> Float[Array, "N 4"]:
    """Load the world points of a sweep outside moving boxes; the fourth column is their time in seconds."""
    points, _ = sweep.load()
    points = transform(sweep.world_from_lidar, points[np.linalg.norm(points, axis=1) <= max_range])
    for box in boxes_at(scene, sweep.time_index):
        if box.track_id in moving:
            points = points[~inside_box(box, points, BOX_MARGIN)]
    return np.pad(points, ((0, 0), (0, 1)), constant_values=scene.times[sweep.time_index])


def _first_per_voxel(xyz: Float[Array, "N 3"], voxel: float) -> Int[Array, "M"]:
    """Find the indices, in order, of the first point in every voxel."""
    if voxel <= 0 or len(xyz) == 0:
        return np.arange(len(xyz))
    cells = np.floor(xyz / voxel).astype(np.int64)
    cells -= cells.min(0)
    spans = cells.max(0) + 1
    _, first = np.unique((cells[:, 0] * spans[1] + cells[:, 1]) * spans[2] + cells[:, 2], return_index=True)
    return np.sort(first)


def _subsample_voxels(points: Float[Array, "N 4"], share: float, voxel: float) -> Float[Array, "M 4"]:
    """Keep the points in about this share of all voxels; the voxels of a smaller share are a subset of a larger one."""
    if share >= 1:
        return points
    cells = np.floor(points[:, :3] / (voxel or 0.05)).astype(np.int64).astype(np.uint64)
    # Each step spreads the bits of one coordinate over all others (a multiplicative hash, modulo 2^64).
    hashes = np.zeros(len(points), np.uint64)
    for column in cells.T:
        hashes = (hashes ^ column) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    return points[(hashes >> np.uint64(11)) < share * 2.0**53]


def draw_rows(rng: np.random.Generator, count: int, *arrays: Shaped[Array, "..."]) -> tuple[Array, ...]:
    """Sample the same `count` rows, in order, of all arrays; all rows if there are no more."""
    if len(arrays[0]) <= count:
        return arrays
    rows = np.sort(rng.choice(len(arrays[0]), count, replace=False))
    return tuple(array[rows] for array in arrays)
