"""Measured points of a whole log as depth images of any view: what supervises depth off the recorded path.

A single LiDAR sweep covers few pixels of a shifted view, and its occlusions are those of the recorded position. All
sweeps together cover the surfaces densely enough that nearer points hide farther ones. Points on moving objects are
kept in the frames of their boxes and placed by the boxes of the view's time. A log without sweeps uses its points of
structure from motion.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int

from ff_jax.data.points.actors import track_points
from ff_jax.data.points.initial import nearest_distances
from ff_jax.data.points.lidar import draw_rows, merged_points
from ff_jax.data.points.occlusion import nearest_in_pixels, occluded
from ff_jax.data.points.visibility import project_points
from ff_jax.data.recording import Recording
from ff_jax.data.scene_data import Frame, boxes_at, invert_rigid, moving_tracks, transform

CAPACITY = 400_000  # static points; with 5 cm voxels about 1,000 square meters
ACTOR_CAPACITY = 5_000  # points per moving object
MAX_DEPTH = 80.0  # meters
HIDDEN = 0.15  # share of the rendered depth by which a hidden point lies behind it
WIDEST_GAP = 0.03  # radians between neighboring points; farther ones hide nothing between them

Array = np.ndarray


class SurfacePoints(NamedTuple):
    """Measured points of a log."""

    static: Float[Array, "N 3"]  # meters, world
    gaps: Float[Array, "N"]  # mean distance of each to its nearest others, meters
    actors: Mapping[str, Float[Array, "M 3"]]  # by track id; meters, object frames


def surface_points(recording: Recording, rng: np.random.Generator) -> SurfacePoints | None:
    """Collect the measured points of a recording; None if it has neither LiDAR nor structure-from-motion points.

    Args:
        recording: its sweeps are those to train on.
        rng: samples the points where there are more than `CAPACITY`.
    """
    log = recording.visible_log
    if log.sweeps:
        static = merged_points(log, CAPACITY, rng)[:, :3]
        names = sorted(moving_tracks(log))
        clouds = track_points(log, names, ACTOR_CAPACITY, rng) if names else []
        actors = {name: xyz for name, (xyz, _) in zip(names, clouds, strict=True)}
    elif log.points is not None:
        static, actors = log.points.xyz.astype(float), {}
    else:
        return None
    surface = make_surface(static, rng)
    return None if surface is None else surface._replace(actors=actors)


def make_surface(static: Float[Array, "N 3"], rng: np.random.Generator) -> SurfacePoints | None:
    """Make the record of static points (meters, world), at most `CAPACITY`; None if there are too few."""
    if len(static) <= 3:
        return None
    (static,) = draw_rows(rng, CAPACITY, static)
    return SurfacePoints(static, nearest_distances(static).astype(float), {})


def surface_depth(
    points: SurfacePoints, recording: Recording, frame: Frame, rendered: Float[Array, "H W"]
) -> Float32[Array, "H W"]:
    """Project the measured points to a depth image (camera z, meters); 0 where there is none or a surface hides it.

    A point is hidden if nearer points surround it, or if the scene renders an opaque surface well in front of it: the
    points of structure from motion are too sparse to hide each other.

    Args:
        points: from `surface_points`.
        recording: gives the boxes of moving objects at the time of the frame.
        frame: the view: a recorded frame or a moved one.
        rendered: depth that the scene renders there, meters.
    """
    xyz, gaps = [points.static], [points.gaps]
    for box in boxes_at(recording.log, frame.time_index):
        local = points.actors.get(box.track_id, np.zeros((0, 3)))
        xyz.append(transform(box.world_from_object, local))
        gaps.append(np.full(len(local), _spacing(box.size, len(local))))
    world, gap = np.concatenate(xyz), np.concatenate(gaps)
    near = _rows_near_image(frame, world)
    pixels, depth, inside = project_points(frame, world[near])
    inside &= depth < MAX_DEPTH
    pixels, depth, gap = pixels[inside], depth[inside], gap[near][inside]
    shape, focal = (frame.height, frame.width), float(frame.K[1, 1])
    sparse, radius = nearest_in_pixels(pixels, depth, np.minimum(gap / depth, WIDEST_GAP), shape, focal)
    hidden = occluded(sparse, radius) | (sparse > (1 + HIDDEN) * np.asarray(rendered))
    return np.where(hidden, np.float32(0), sparse)


def _rows_near_image(frame: Frame, xyz: Float[Array, "N 3"]) -> Int[Array, "M"]:
    """Find the points nearer than `MAX_DEPTH` in the image, or less than a pixel beside it.

    They are few of the points of a log. The tests are linear in the point, which is much cheaper than a projection.

    Args:
        frame: the view.
        xyz: points in the world, meters.
    """
    image_from_world = frame.K @ invert_rigid(frame.world_from_camera)[:3]
    column, row, depth = (xyz @ line[:3] + line[3] for line in image_from_world)
    inside = (depth > 0) & (depth < MAX_DEPTH)
    for value, size in ((column, frame.width), (row, frame.height)):
        inside &= (value > -depth) & (value < (size + 1) * depth)
    return np.flatnonzero(inside)


def _spacing(size: Float[Array, "3"], count: int) -> float:
    """Estimate the distance between points that cover the sides of a box, meters."""
    length, width, height = size
    area = 2 * (length * height + width * height + length * width)
    return float(np.sqrt(area / max(count, 1)))
