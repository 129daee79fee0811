"""The ground around the recorded drive as a mesh, for the physics of a simulator."""

import io

import numpy as np
from jaxtyping import Float, Int
from plyfile import PlyData, PlyElement

from ff_jax.data.scene_data import SceneData, transform
from ff_jax.simulation.road_path import SPACING, RoadPath

WIDTH = 20.0  # meters to each side
MAX_STEP = 0.4  # meters between the ground and the level of the path: other points are curbs, cars and trees
MIN_POINTS, MAX_POINTS, MAX_SWEEPS = 3, 200_000, 20  # of a cell; that are read

Array = np.ndarray


def ground_mesh(
    path: RoadPath, log: SceneData, local_from_world: Float[Array, "4 4"]
) -> tuple[Float[Array, "V 3"], Int[Array, "F 3"]]:
    """Make a grid along a path: vertices (local frame, meters) and triangles, counterclockwise from above.

    A vertex has the median height of the measured points (LiDAR, sparse points, map) of its cell of 2 m that are near
    the level of the path, and else that level: the road below the wheels.
    """
    columns = np.arange(-WIDTH, WIDTH + 0.5 * SPACING, SPACING)
    heights = _heights(path, columns, transform(local_from_world, measured_points(log)))
    vertices = np.stack([path.place(np.full(len(path.stations), c), heights[:, i]) for i, c in enumerate(columns)], 1)
    index = np.arange(heights.size).reshape(heights.shape)
    right, left = index[:, :-1], index[:, 1:]
    lower = np.stack([right[:-1], right[1:], left[1:]], -1).reshape(-1, 3)
    upper = np.stack([right[:-1], left[1:], left[:-1]], -1).reshape(-1, 3)
    return vertices.reshape(-1, 3), np.concatenate([lower, upper])


def _heights(path: RoadPath, columns: Float[Array, "C"], points: Float[Array, "N 3"]) -> Float[Array, "S C"]:
    """Measure the heights of all cells above the level of the path, meters; 0 without enough points."""
    along, left, above = path.project(points)
    rows, cells = np.round(along / SPACING).astype(int), np.round((left + WIDTH) / SPACING).astype(int)
    is_ground = (np.abs(above) < MAX_STEP) & (cells >= 0) & (cells < len(columns)) & (rows < len(path.stations))
    heights = np.zeros((len(path.stations), len(columns)))
    keys = (rows * len(columns) + cells)[is_ground]
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    for part, key in zip(np.split(above[is_ground][order], starts[1:]), keys[order][starts], strict=False):
        if len(part) >= MIN_POINTS:
            heights.flat[key] = np.median(part)
    return heights


def measured_points(log: SceneData, seed: int = 0) -> Float[Array, "N 3"]:
    """Collect measured points of a log (world, meters), at most `MAX_POINTS`."""
    chosen = np.unique(np.linspace(0, len(log.sweeps) - 1, MAX_SWEEPS).astype(int)) if log.sweeps else []
    parts = [log.sweeps[index].load_world() for index in chosen]
    parts += [] if log.points is None else [np.asarray(log.points.xyz, np.float64)]
    points = np.concatenate([np.zeros((0, 3)), *parts, *(lane.points for lane in log.lanes)])
    return points[np.random.default_rng(seed).permutation(len(points))[:MAX_POINTS]]


def mesh_ply(vertices: Float[Array, "V 3"], triangles: Int[Array, "F 3"]) -> bytes:
    """Write a mesh as a binary PLY file."""
    corners = np.array([tuple(v) for v in vertices.astype(np.float32)], [(name, "f4") for name in "xyz"])
    faces = np.zeros(len(triangles), [("vertex_indices", "i4", (3,))])
    faces["vertex_indices"] = triangles
    buffer = io.BytesIO()
    PlyData([PlyElement.describe(corners, "vertex"), PlyElement.describe(faces, "face")], byte_order="<").write(buffer)
    return buffer.getvalue()
