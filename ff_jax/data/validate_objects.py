"""Validate what a log holds besides its frames: LiDAR sweeps, boxes, lanes and sparse points."""

from collections.abc import Iterator
from functools import partial

import numpy as np
from jaxtyping import Shaped

from ff_jax.data import validate_rules as rules
from ff_jax.data.lazy_arrays import PointFile, count_points
from ff_jax.data.lidar_returns import MAX_LIDAR_RANGE
from ff_jax.data.scene_data import CATEGORIES, LANE_KINDS, Box, LidarSweep, SceneData

MAX_BOX_SIDE = 100.0  # meters: a train
MAX_SPARSE = 1e6  # meters: points on the horizon of a reconstruction are far, and harmless

Array = np.ndarray


def sweep_problems(scene: SceneData, sweep: LidarSweep) -> Iterator[str]:
    """Give the problems of a sweep, without its points."""
    yield from rules.name("sensor", sweep.sensor)
    yield from rules.rigid("world_from_lidar", sweep.world_from_lidar)
    yield from rules.time_index(scene, sweep.time_index) or rules.near_vehicle(
        scene, "LiDAR", sweep.time_index, sweep.world_from_lidar, rules.MAX_CAMERA_DISTANCE
    )


def return_problems(sweep: LidarSweep, *, decode: bool) -> Iterator[str]:
    """Give the problems of the points of a sweep; without `decode` only the header of its file is read."""
    if decode:
        count = rules.result_or_error(lambda: len(sweep.load()[0]))
    elif isinstance(sweep.points, PointFile):
        count = rules.result_or_error(partial(count_points, sweep.points.path))
    else:
        return
    if isinstance(count, str):
        yield count
    elif count == 0:
        yield "it has no points; remove the sweep"


def box_problems(scene: SceneData, box: Box) -> Iterator[str]:
    """Give the problems of a box."""
    yield from rules.name("track", box.track_id)
    yield from rules.rigid("world_from_object", box.world_from_object)
    yield from rules.time_index(scene, box.time_index) or rules.near_vehicle(
        scene, "box", box.time_index, box.world_from_object, MAX_LIDAR_RANGE
    )
    if box.category not in CATEGORIES:
        yield f"category = {box.category!r}; use one of {', '.join(CATEGORIES)}"
    if not all(0 < side <= MAX_BOX_SIDE for side in box.size.tolist()):
        sides = box.size.tolist()
        yield f"size = {sides}; use a positive length, width and height in meters, at most {MAX_BOX_SIDE:g}"
    if box.num_points < -1:
        yield f"num_points = {box.num_points}; use a count, or -1 if it is unknown"


def lane_problems(kind: str, points: Shaped[Array, "M 3"]) -> Iterator[str]:
    """Give the problems of a lane."""
    if kind not in LANE_KINDS:
        yield f"kind = {kind!r}; use one of {', '.join(LANE_KINDS)}"
    if len(points) < 2:
        yield f"it has {len(points)} point(s); a line needs two"
    yield from rules.finite_points(points, 2 * rules.MAX_FROM_ORIGIN)


def sparse_problems(scene: SceneData) -> Iterator[str]:
    """Give the problems of the sparse points."""
    if scene.points is None:
        return
    xyz, rgb = scene.points.xyz, scene.points.rgb
    yield from rules.finite_points(xyz, MAX_SPARSE)
    if rgb is not None and rgb.shape != xyz.shape:
        yield f"rgb has shape {rgb.shape} for xyz of shape {xyz.shape}; expected one color per point"
    elif rgb is not None and not ((rgb >= 0) & (rgb <= 1)).all():
        yield f"rgb goes from {rgb.min()} to {rgb.max()}; scale colors to [0, 1]"
