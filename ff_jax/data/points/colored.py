"""Colored LiDAR points of several sweeps, drawn into any view.

The condition images of generators that see LiDAR (FreeVS, arXiv 2410.18079; StreetCrafter, arXiv 2412.13188; DriveX,
arXiv 2412.01717), with the drawing rules of FreeVS: points inside a labeled box move with the box, a point is one
pixel, nearer points win, and the surroundings of an object are closed to what lies behind it. LiDAR is sparse, so
that otherwise the background would be seen through an object.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import ndimage

from ff_jax.data.points.visibility import color_points, inside_box, project_points
from ff_jax.data.scene_data import Box, Frame, SceneData, boxes_at, invert_rigid, transform

WINDOW = 2  # time steps before and after that of a view whose sweeps are drawn
TERRITORY = 2  # pixels around those of an object that are closed to what lies behind it
BOX_MARGIN = 0.05  # meters added to the boxes

Array = np.ndarray


class ColoredPoints(NamedTuple):
    """Points with their colors."""

    xyz: Float[Array, "N 3"]  # meters: world, or object frame
    rgb: Float32[Array, "N 3"]  # [0, 1]


class ColoredSweep(NamedTuple):
    """The colored LiDAR points of one time step."""

    static: ColoredPoints  # outside all boxes; world
    objects: Mapping[str, ColoredPoints]  # by track id; object frames


def colored_sweep(log: SceneData, time_index: int) -> ColoredSweep:
    """Color the LiDAR points of one time step from the training images of that step; points in none are left out.

    What hides a point from a camera is ignored, as for the initial points of a scene.

    Args:
        log: the driving log; all its sweeps and frames may be used.
        time_index: of the sweeps, the images and the boxes.
    """
    sweeps = [sweep.load_world().astype(float) for sweep in log.sweeps if sweep.time_index == time_index]
    frames = tuple(frame for frame in log.frames if frame.time_index == time_index and frame.split == "train")
    xyz, rgb = np.concatenate([np.zeros((0, 3)), *sweeps]), np.zeros((0, 3), np.float32)
    if frames:
        rgb, is_seen = color_points(replace(log, frames=frames), xyz)
        xyz, rgb = xyz[is_seen], rgb[is_seen]
    else:
        xyz = xyz[:0]
    objects, is_static = {}, np.ones(len(xyz), bool)
    for box in boxes_at(log, time_index):
        inside = inside_box(box, xyz, BOX_MARGIN) & is_static
        objects[box.track_id] = ColoredPoints(transform(invert_rigid(box.world_from_object), xyz[inside]), rgb[inside])
        is_static &= ~inside
    return ColoredSweep(ColoredPoints(xyz[is_static], rgb[is_static]), objects)


def draw_sweeps(sweeps: Sequence[ColoredSweep], boxes: Sequence[Box], frame: Frame) -> Float32[Array, "H W 4"]:
    """Draw colored sweeps into a view: colors, and 1 where there is a point; pixels without one are black.

    Objects are drawn from the nearest to the farthest, then the background. The pixels within `TERRITORY` of those of
    an object are closed to everything that is drawn later.

    Args:
        sweeps: of the time steps around that of the view.
        boxes: at the time of the view; an object without one is not drawn.
        frame: the camera.
    """
    objects = [(box, _joined([sweep.objects.get(box.track_id, _NOTHING) for sweep in sweeps])) for box in boxes]
    placed = [ColoredPoints(transform(box.world_from_object, points.xyz), points.rgb) for box, points in objects]
    placed.sort(key=lambda points: _planar_distance(points, frame))
    canvas = np.zeros((frame.height, frame.width, 4), np.float32)
    is_closed = np.zeros((frame.height, frame.width), bool)
    for points in placed:
        drawn = _draw(canvas, points, is_closed, frame)
        if drawn.any():
            is_closed |= ndimage.maximum_filter(drawn, 2 * TERRITORY + 1)
    _draw(canvas, _joined([sweep.static for sweep in sweeps]), is_closed, frame)
    return canvas


_NOTHING = ColoredPoints(np.zeros((0, 3)), np.zeros((0, 3), np.float32))


def _joined(parts: Sequence[ColoredPoints]) -> ColoredPoints:
    return ColoredPoints(*(np.concatenate(arrays) for arrays in zip(_NOTHING, *parts, strict=True)))


def _planar_distance(points: ColoredPoints, frame: Frame) -> float:
    """Measure the smallest distance of points from a camera across its vertical axis, meters."""
    local = transform(invert_rigid(frame.world_from_camera), points.xyz)
    return float(np.hypot(local[:, 0], local[:, 2]).min(initial=np.inf))


def _draw(
    canvas: Float32[Array, "H W 4"], points: ColoredPoints, is_closed: Bool[Array, "H W"], frame: Frame
) -> Bool[Array, "H W"]:
    """Draw points into the open pixels of a canvas, in place; return which pixels were drawn."""
    pixels, depth, inside = project_points(frame, points.xyz)
    order = np.flatnonzero(inside)
    order = order[np.argsort(-depth[order], kind="stable")]  # the last write to a pixel, of its nearest point, stays
    column, row = pixels[order].astype(int).T
    is_open = ~is_closed[row, column]
    row, column, order = row[is_open], column[is_open], order[is_open]
    canvas[row, column, :3], canvas[row, column, 3] = points.rgb[order], 1.0
    drawn = np.zeros_like(is_closed)
    drawn[row, column] = True
    return drawn
