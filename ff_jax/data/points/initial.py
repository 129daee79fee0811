"""Points from which a reconstruction starts, and LiDAR depth images.

Only training frames colour points and decide what is seen, so nothing leaks from test images. Colours know no
occlusion: a point takes the colour of the pixel it falls on.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Float32, Int, Shaped
from scipy.spatial import Delaunay, cKDTree

from ff_jax.data.loader import load_image
from ff_jax.data.points.occlusion import beam_gaps, hidden, nearest_in_pixels
from ff_jax.data.points.visibility import NEAR, color_points, inside_box, project_points, seen_by_any
from ff_jax.data.scene_data import Frame, SceneData, Sweep, boxes_at, moving_tracks, transform

FLOOR = 2.0  # metres from the ego frame, which may sit at a camera, down to below the road
BOX_MARGIN = 0.2  # metres added to the boxes of moving tracks: labels are tight and boxes lag behind
COLOR_WINDOW = 3.0  # seconds; what a LiDAR sees first lies ahead, so a front camera sees it soon
RANDOM_VIEWS = 64  # frames that decide whether a random point is seen
MOST = 4_000_000  # LiDAR points held at a time, or `SPARE` times those asked for
SPARE = 8
MAX_ROUNDS = 50  # of drawing random points until enough of them are seen

Array = np.ndarray


def initial_points(
    scene: SceneData, total: int, rng: np.random.Generator, *, random_share: float = 0.2
) -> tuple[Float32[Array, "M 3"], Float32[Array, "M 3"]]:
    """Return the positions (metres, world) and colours of at most `total` points to start from.

    LiDAR points where the log has sweeps, else structure-from-motion points and points interpolated between
    them, else none; and a share of random points, which is all there is in a log with neither.

    Raises:
        ValueError: `total` is not positive or the share is outside [0, 1].
    """
    if total < 1 or not 0 <= random_share <= 1:
        raise ValueError(f"{total=} and {random_share=}: give a positive total and a share in [0, 1].")
    measured = round(total * (1 - random_share))
    if scene.sweeps:
        found = lidar_points(scene, measured, rng)
    elif scene.points is not None:
        found = _sparse_and_between(scene, measured, rng)
    else:
        found, measured = (np.zeros((0, 3), np.float32),) * 2, 0
    drawn = random_points(rng, scene, total - measured)
    xyz, rgb = (np.concatenate(pair) for pair in zip(found, drawn, strict=True))
    return xyz, rgb


def lidar_points(
    scene: SceneData,
    max_points: int,
    rng: np.random.Generator,
    *,
    voxel: float = 0.05,
    max_range: float = 120.0,
) -> tuple[Float32[Array, "M 3"], Float32[Array, "M 3"]]:
    """Return static LiDAR points in the world with the colour of the training camera nearest in time.

    Points inside the boxes of moving tracks are removed, one point is kept per cube of `voxel` metres, and
    points that no training camera sees are dropped. Where a long log fills more than `MOST` cubes, some of them are
    drawn, evenly, so that memory does not grow with the log.

    Args:
        scene: a log with sweeps.
        max_points: at most this many points, drawn evenly from what remains.
        rng: draws the points.
        voxel: metres; 0 keeps all points.
        max_range: metres from the LiDAR; farther points are dropped.
    """
    moving, share = moving_tracks(scene), 1.0
    kept, pending, waiting = np.zeros((0, 4)), [], 0
    for sweep in scene.sweeps:
        pending.append(_drawn(_static_points(scene, sweep, moving, max_range), share, voxel))
        waiting += len(pending[-1])
        # Merging only when as much is new as has been kept costs two sorts of the whole, not one per sweep.
        if waiting > max(len(kept), 1_000_000) or sweep is scene.sweeps[-1]:
            merged = np.concatenate([kept, *pending])
            kept, pending, waiting = merged[_first_per_voxel(merged[:, :3], voxel)], [], 0
            while len(kept) > max(MOST, SPARE * max_points):
                share /= 2
                kept = _drawn(kept, share, voxel)
    # A front camera sees about a quarter of a full turn; more than that need not be looked up.
    (kept,) = _subset(rng, 4 * max_points, kept)
    rgb, seen = color_points(scene, kept[:, :3], kept[:, 3], window=COLOR_WINDOW)
    return _subset(rng, max_points, kept[seen, :3].astype(np.float32), rgb[seen])


def sparse_points(scene: SceneData) -> tuple[Float32[Array, "M 3"], Float32[Array, "M 3"]]:
    """Return the structure-from-motion points, coloured from the training images if they have no colours.

    Raises:
        ValueError: the log has none.
    """
    if scene.points is None:
        raise ValueError(f"scene {scene.name!r} has no sparse points; start from LiDAR or random points.")
    xyz = scene.points.xyz.astype(np.float32)
    if scene.points.rgb is not None:
        return xyz, scene.points.rgb.astype(np.float32)
    rgb, seen = color_points(scene, xyz.astype(float))
    return xyz[seen], rgb[seen]


def interpolated_points(
    rng: np.random.Generator, scene: SceneData, n: int, *, reach: float = 0.03
) -> tuple[Float32[Array, "M 3"], Float32[Array, "M 3"]]:
    """Lift random pixels of the training images to the depth of the sparse points around them.

    Inverse depth is interpolated linearly in the Delaunay triangles of the sparse points in the image, which
    is exact on planes, such as the road.

    Args:
        rng: draws the pixels, evenly over the triangles of all training images.
        scene: a log with sparse points.
        n: pixels drawn; fewer points come back, because some pixels are far from any sparse point.
        reach: how far the nearest sparse point may be, in image widths.

    Raises:
        ValueError: the log has no sparse points.
    """
    if scene.points is None:
        raise ValueError(f"scene {scene.name!r} has no sparse points; start from LiDAR or random points.")
    frames = [frame for frame in scene.frames if frame.split == "train"]
    parts = [(np.zeros((0, 3), np.float32),) * 2]
    for frame, count in zip(frames, rng.multinomial(n, np.full(len(frames), 1 / len(frames))), strict=True):
        known, depth, inside = project_points(frame, scene.points.xyz.astype(float))
        if inside.sum() < 4:  # Delaunay needs a triangle and a point
            continue
        pixels, inverse = _between(rng, known[inside], 1 / depth[inside], int(count), reach * frame.width)
        rays = np.pad(pixels, ((0, 0), (0, 1)), constant_values=1) @ np.linalg.inv(frame.K).T
        xyz = transform(frame.world_from_camera, rays / inverse[:, None])
        column, row = pixels.astype(int).T
        parts.append((xyz.astype(np.float32), load_image(frame)[row, column]))
    xyz, rgb = (np.concatenate(part) for part in zip(*parts, strict=True))
    return xyz, rgb


def random_points(
    rng: np.random.Generator, scene: SceneData, n: int, *, near: float = 20.0, far: float = 50.0
) -> tuple[Float32[Array, "n 3"], Float32[Array, "n 3"]]:
    """Draw points that at least one training camera sees, coloured by the pixel they fall on.

    One half fills boxes around the ego poses. The other half lies around all of them, above the road, at one
    to `far` radii of the trajectory with evenly distributed inverse distance.

    Args:
        rng: draws the points.
        scene: the log.
        n: number of points.
        near: half length and width of the boxes, metres; they reach from `FLOOR` below the ego to half of it.
        far: largest distance, in radii; the radius is that of all boxes together.

    Raises:
        ValueError: almost no drawn point is seen, so poses or intrinsics must be wrong.
    """
    frames = [frame for frame in scene.frames if frame.split == "train"]
    # Some frames of a long log see as well what there is to see, and only their images are decoded.
    few = np.sort(rng.choice(len(frames), min(len(frames), RANDOM_VIEWS), replace=False))
    scene = replace(scene, frames=tuple(frames[i] for i in few))
    close = _draw_seen(scene, n // 2, lambda count: _draw_close(rng, scene, count, near))
    distant = _draw_seen(scene, n - n // 2, lambda count: _draw_far(rng, scene, count, near, far))
    xyz = np.concatenate([close, distant])
    rgb, _ = color_points(scene, xyz)
    return xyz.astype(np.float32), rgb


def nearest_distances(xyz: Float[Array, "N 3"], k: int = 3) -> Float32[Array, "N"]:
    """Return the mean distance of every point to its `k` nearest other points, in metres.

    Raises:
        ValueError: there are not more than `k` points.
    """
    if len(xyz) <= k:
        raise ValueError(f"{len(xyz)} point(s) do not have {k} neighbours; give more points.")
    distances, _ = cKDTree(xyz).query(xyz, k + 1, workers=-1)
    return distances[:, 1:].mean(1).astype(np.float32)


def lidar_depth(
    scene: SceneData, frame: Frame, *, min_depth: float = NEAR, max_depth: float = 100.0
) -> Float32[Array, "H W"]:
    """Return the depth (camera z, metres) of the sweeps of the same time index; 0 where no point is seen.

    Every point lands in exactly one pixel, and of several points in a pixel the nearest is kept. Points that the
    camera cannot see because something hides them are left out (see `occlusion`).
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
    return np.where(hidden(sparse, radius), np.float32(0), sparse)


def _sparse_and_between(
    scene: SceneData, count: int, rng: np.random.Generator
) -> tuple[Float32[Array, "M 3"], Float32[Array, "M 3"]]:
    known = _subset(rng, count, *sparse_points(scene))
    # Twice the number, because pixels far from any sparse point (the sky, mostly) are dropped.
    between = interpolated_points(rng, scene, 2 * (count - len(known[0])))
    between = _subset(rng, count - len(known[0]), *between)
    xyz, rgb = (np.concatenate(pair) for pair in zip(known, between, strict=True))
    return xyz, rgb


def _between(
    rng: np.random.Generator, known: Float[Array, "N 2"], values: Float[Array, "N"], count: int, reach: float
) -> tuple[Float[Array, "M 2"], Float[Array, "M"]]:
    """Draw pixels evenly over the Delaunay triangles of `known` and interpolate `values` there.

    Drawing inside a triangle gives the weights of its corners, so no pixel has to be searched for.
    """
    triangles = Delaunay(known).simplices
    corners = known[triangles]
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    areas = np.abs(ax * by - ay * bx)
    chosen = rng.choice(len(triangles), count, p=areas / areas.sum())
    side, along = np.sqrt(rng.random(count)), rng.random(count)
    weights = np.stack([1 - side, side * (1 - along), side * along], -1)
    pixels = np.einsum("nk,nkd->nd", weights, corners[chosen])
    near = np.linalg.norm(corners[chosen] - pixels[:, None], axis=-1).min(1) <= reach
    return pixels[near], (weights * values[triangles[chosen]]).sum(1)[near]


def _static_points(scene: SceneData, sweep: Sweep, moving: frozenset[str], max_range: float) -> Float[Array, "N 4"]:
    """Return the world points of a sweep that are on nothing that moves, with their time in seconds."""
    points, _ = sweep.load()
    points = transform(sweep.world_from_lidar, points[np.linalg.norm(points, axis=1) <= max_range])
    for box in boxes_at(scene, sweep.time_index):
        if box.track_id in moving:
            points = points[~inside_box(box, points, BOX_MARGIN)]
    return np.pad(points, ((0, 0), (0, 1)), constant_values=scene.times[sweep.time_index])


def _first_per_voxel(xyz: Float[Array, "N 3"], voxel: float) -> Int[Array, "M"]:
    """Return the indices, in order, of the first point in every cube."""
    if voxel <= 0 or len(xyz) == 0:
        return np.arange(len(xyz))
    cells = np.floor(xyz / voxel).astype(np.int64)
    cells -= cells.min(0)
    spans = cells.max(0) + 1
    _, first = np.unique((cells[:, 0] * spans[1] + cells[:, 1]) * spans[2] + cells[:, 2], return_index=True)
    return np.sort(first)


def _drawn(points: Float[Array, "N 4"], share: float, voxel: float) -> Float[Array, "M 4"]:
    """Return the points in about this share of all cubes; those of a smaller share are among those of a larger one."""
    if share >= 1:
        return points
    cells = np.floor(points[:, :3] / (voxel or 0.05)).astype(np.int64).astype(np.uint64)
    # Each step spreads the bits of one coordinate over all others (a multiplicative hash, modulo 2^64).
    mixed = np.zeros(len(points), np.uint64)
    for column in cells.T:
        mixed = (mixed ^ column) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return points[(mixed >> np.uint64(11)) < share * 2.0**53]


def _draw_close(rng: np.random.Generator, scene: SceneData, count: int, near: float) -> Float[Array, "N 3"]:
    poses = scene.world_from_ego[rng.integers(len(scene.times), size=count)]
    local = rng.uniform([-near, -near, -FLOOR], [near, near, near / 2], (count, 3))
    return np.einsum("nij,nj->ni", poses[:, :3, :3], local) + poses[:, :3, 3]


def _draw_far(rng: np.random.Generator, scene: SceneData, count: int, near: float, far: float) -> Float[Array, "N 3"]:
    centres = scene.world_from_ego[:, :3, 3]
    middle = scene.world_from_ego[len(centres) // 2]
    radius = near + np.linalg.norm(centres - middle[:3, 3], axis=1).max()
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions[:, 2] = np.abs(directions[:, 2])
    distances = radius / rng.uniform(1 / far, 1, count)
    return transform(middle, directions * distances[:, None])


def _draw_seen(scene: SceneData, count: int, draw: Callable[[int], Array]) -> Float[Array, "N 3"]:
    """Draw until `count` points are in the image of some training camera."""
    kept = np.zeros((0, 3))
    for _ in range(MAX_ROUNDS):
        if len(kept) >= count:
            return kept[:count]
        points = draw(3 * count)
        kept = np.concatenate([kept, points[seen_by_any(scene, points)]])
    raise ValueError(
        f"scene {scene.name!r}: the training cameras saw {len(kept)} of {3 * count * MAX_ROUNDS} points near "
        "the trajectory; validate the camera and ego poses."
    )


def _subset(rng: np.random.Generator, count: int, *arrays: Shaped[Array, "..."]) -> tuple[Array, ...]:
    """Draw the same `count` rows, in order, of all arrays; all rows if there are no more."""
    if len(arrays[0]) <= count:
        return arrays
    rows = np.sort(rng.choice(len(arrays[0]), count, replace=False))
    return tuple(array[rows] for array in arrays)
