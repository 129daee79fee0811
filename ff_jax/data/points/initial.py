"""Initial points of a reconstruction: from LiDAR, structure from motion, or random.

Only training frames give colors and visibility, so nothing leaks from test images. Occlusion is ignored for colors: a
point takes the color of the pixel it projects to.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial import Delaunay, KDTree

from ff_jax.data.loader import load_image
from ff_jax.data.points.lidar import draw_rows, lidar_points
from ff_jax.data.points.visibility import color_points, is_visible, project_points
from ff_jax.data.scene_data import SceneData, transform

FLOOR = 2.0  # meters from the ego frame, which may be at a camera, down to below the road
RANDOM_VIEWS = 64  # frames that decide whether a random point is visible
MIN_SPREAD = 1e-3  # of points across the line that fits them best, as a share of that along it
MAX_ROUNDS = 50  # of drawing random points until enough of them are visible

Array = np.ndarray


def initial_points(
    scene: SceneData, total: int, rng: np.random.Generator, *, random_share: float = 0.2
) -> tuple[Float32[Array, "M 3"], Float32[Array, "M 3"]]:
    """Choose at most `total` initial points of a scene.

    Most are LiDAR points where the log has sweeps, else structure-from-motion points and points interpolated between
    them; the others are random. A log without both gets only random points.

    Args:
        scene: the log.
        total: number of points.
        rng: samples the points.
        random_share: share of random points.

    Returns:
        Positions (meters, world) and colors in [0, 1].

    Raises:
        ValueError: `total` is not positive or the share is outside [0, 1].
    """
    if total < 1 or not 0 <= random_share <= 1:
        raise ValueError(f"invalid {total=}, {random_share=}: expected a positive total and a share in [0, 1].")
    num_measured = round(total * (1 - random_share))
    if scene.sweeps:
        measured = lidar_points(scene, num_measured, rng)
    elif scene.points is not None:
        measured = _sparse_and_interpolated(scene, num_measured, rng)
    else:
        measured, num_measured = (np.zeros((0, 3), np.float32),) * 2, 0
    random = random_points(rng, scene, total - num_measured)
    xyz, rgb = (np.concatenate(pair) for pair in zip(measured, random, strict=True))
    return xyz, rgb


def sparse_points(scene: SceneData) -> tuple[Float32[Array, "M 3"], Float32[Array, "M 3"]]:
    """Read the structure-from-motion points, colored from the training images if they have no colors.

    Raises:
        ValueError: the log has none.
    """
    if scene.points is None:
        raise ValueError(f"scene {scene.name!r} has no sparse points; start from LiDAR or random points.")
    xyz = scene.points.xyz.astype(np.float32)
    if scene.points.rgb is not None:
        return xyz, scene.points.rgb.astype(np.float32)
    rgb, visible = color_points(scene, xyz.astype(float))
    return xyz[visible], rgb[visible]


def interpolated_points(
    rng: np.random.Generator, scene: SceneData, n: int, *, reach: float = 0.03
) -> tuple[Float32[Array, "M 3"], Float32[Array, "M 3"]]:
    """Unproject random pixels of the training images, with depths interpolated between the sparse points.

    Inverse depth is linear in the Delaunay triangles of the sparse points in the image, which is exact on planes such
    as the road.

    Args:
        rng: draws the pixels, evenly over the triangles of all training images.
        scene: a log with sparse points.
        n: number of pixels; fewer points are returned, because some pixels are far from any sparse point.
        reach: largest distance of the nearest sparse point, in image widths.

    Raises:
        ValueError: the log has no sparse points.
    """
    if scene.points is None:
        raise ValueError(f"scene {scene.name!r} has no sparse points; start from LiDAR or random points.")
    frames = [frame for frame in scene.frames if frame.split == "train"]
    parts = [(np.zeros((0, 3), np.float32),) * 2]
    for frame, count in zip(frames, rng.multinomial(n, np.full(len(frames), 1 / len(frames))), strict=True):
        vertices, depth, inside = project_points(frame, scene.points.xyz.astype(float))
        if not _span_a_plane(vertices[inside]):
            continue
        pixels, inverse = _interpolate(rng, vertices[inside], 1 / depth[inside], int(count), reach * frame.width)
        rays = np.pad(pixels, ((0, 0), (0, 1)), constant_values=1) @ np.linalg.inv(frame.K).T
        xyz = transform(frame.world_from_camera, rays / inverse[:, None])
        column, row = pixels.astype(int).T
        parts.append((xyz.astype(np.float32), load_image(frame)[row, column]))
    xyz, rgb = (np.concatenate(part) for part in zip(*parts, strict=True))
    return xyz, rgb


def random_points(
    rng: np.random.Generator, scene: SceneData, n: int, *, near: float = 20.0, far: float = 50.0
) -> tuple[Float32[Array, "n 3"], Float32[Array, "n 3"]]:
    """Draw points inside at least one training image, colored by the pixel they project to.

    One half fills boxes around the ego poses. The other half surrounds the trajectory, above the road, at one to `far`
    of its radii with evenly distributed inverse distance.

    Args:
        rng: draws the points.
        scene: the log.
        n: number of points.
        near: half length and width of the boxes, meters; their height is from `FLOOR` below the ego frame to near / 2.
        far: largest distance, in radii of all boxes together.

    Raises:
        ValueError: almost no point is in an image, so poses or intrinsics must be wrong.
    """
    frames = [frame for frame in scene.frames if frame.split == "train"]
    # A sample of the frames covers a long log well enough, and only their images are decoded.
    sample = np.sort(rng.choice(len(frames), min(len(frames), RANDOM_VIEWS), replace=False))
    scene = replace(scene, frames=tuple(frames[i] for i in sample))
    close = _draw_visible(scene, n // 2, lambda count: _draw_close(rng, scene, count, near))
    distant = _draw_visible(scene, n - n // 2, lambda count: _draw_far(rng, scene, count, near, far))
    xyz = np.concatenate([close, distant])
    rgb, _ = color_points(scene, xyz)
    return xyz.astype(np.float32), rgb


def nearest_distances(xyz: Float[Array, "N 3"], k: int = 3) -> Float32[Array, "N"]:
    """Compute the mean distance of every point to its `k` nearest other points, in meters.

    Raises:
        ValueError: there are not more than `k` points.
    """
    if len(xyz) <= k:
        raise ValueError(f"{len(xyz)} point(s) do not have {k} neighbors; use more points.")
    distances, _ = KDTree(xyz).query(xyz, k + 1, workers=-1)
    return distances[:, 1:].mean(1).astype(np.float32)


def _sparse_and_interpolated(
    scene: SceneData, count: int, rng: np.random.Generator
) -> tuple[Float32[Array, "M 3"], Float32[Array, "M 3"]]:
    sparse = draw_rows(rng, count, *sparse_points(scene))
    # Twice the number, because pixels far from any sparse point (mostly sky) are dropped.
    interpolated = interpolated_points(rng, scene, 2 * (count - len(sparse[0])))
    interpolated = draw_rows(rng, count - len(sparse[0]), *interpolated)
    xyz, rgb = (np.concatenate(pair) for pair in zip(sparse, interpolated, strict=True))
    return xyz, rgb


def _span_a_plane(vertices: Float[Array, "N 2"]) -> bool:
    """Test whether points can be triangulated: there are at least four, and they are not on one line."""
    if len(vertices) < 4:
        return False
    spread = np.linalg.svd(vertices - vertices.mean(0), compute_uv=False)
    return bool(spread[1] > MIN_SPREAD * spread[0])


def _interpolate(
    rng: np.random.Generator, vertices: Float[Array, "N 2"], values: Float[Array, "N"], count: int, reach: float
) -> tuple[Float[Array, "M 2"], Float[Array, "M"]]:
    """Draw pixels evenly over the Delaunay triangles of `vertices` and interpolate `values` there.

    Drawing inside a triangle gives the weights of its corners, so no pixel has to be located.
    """
    triangles = Delaunay(vertices).simplices
    corners = vertices[triangles]
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    areas = np.abs(ax * by - ay * bx)
    index = rng.choice(len(triangles), count, p=areas / areas.sum())
    side, along = np.sqrt(rng.random(count)), rng.random(count)
    weights = np.stack([1 - side, side * (1 - along), side * along], -1)
    pixels = np.einsum("nk,nkd->nd", weights, corners[index])
    near = np.linalg.norm(corners[index] - pixels[:, None], axis=-1).min(1) <= reach
    return pixels[near], (weights * values[triangles[index]]).sum(1)[near]


def _draw_close(rng: np.random.Generator, scene: SceneData, count: int, near: float) -> Float[Array, "N 3"]:
    poses = scene.world_from_ego[rng.integers(len(scene.times), size=count)]
    local = rng.uniform([-near, -near, -FLOOR], [near, near, near / 2], (count, 3))
    return np.einsum("nij,nj->ni", poses[:, :3, :3], local) + poses[:, :3, 3]


def _draw_far(rng: np.random.Generator, scene: SceneData, count: int, near: float, far: float) -> Float[Array, "N 3"]:
    centers = scene.world_from_ego[:, :3, 3]
    middle = scene.world_from_ego[len(centers) // 2]
    radius = near + np.linalg.norm(centers - middle[:3, 3], axis=1).max()
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions[:, 2] = np.abs(directions[:, 2])
    distances = radius / rng.uniform(1 / far, 1, count)
    return transform(middle, directions * distances[:, None])


def _draw_visible(scene: SceneData, count: int, draw: Callable[[int], Array]) -> Float[Array, "N 3"]:
    """Draw until `count` points are in the image of some training camera."""
    visible = np.zeros((0, 3))
    for _ in range(MAX_ROUNDS):
        if len(visible) >= count:
            return visible[:count]
        points = draw(3 * count)
        visible = np.concatenate([visible, points[is_visible(scene, points)]])
    raise ValueError(
        f"scene {scene.name!r}: {len(visible)} of {3 * count * MAX_ROUNDS} points near the trajectory are in an "
        "image; validate the camera and ego poses."
    )
