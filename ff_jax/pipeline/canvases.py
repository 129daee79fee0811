"""Boxes and lane map drawn as images of a view: conditions of fixers, and nothing that is scored.

Channels and lines are those of the released canvases of DriveDreamer4D and ReconDreamer (arXiv 2410.13571, 2411.19548):
lines of 12 pixels at a width of 1920, map points within 75 m and 10 m of height. Lines are clipped at these limits and
at the image plane; nothing hides them.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32

from ff_jax.data.boxes import EDGES, corners
from ff_jax.data.scene_data import Box, Frame, Lane, invert_rigid, transform
from ff_jax.metrics.lane_raster import STRICT, clip_segments, draw_segments

THICKNESS = 12 / 1920  # of a line, in image widths
BOX_CHANNELS = {"vehicle": 0, "pedestrian": 1, "cyclist": 2}  # other objects are not drawn
LANE_CHANNELS = {"road_edge": 0, "crosswalk": 1, "lane_line": 2}  # where lines cross, the first of these is drawn
_FRONT = np.array([[0, 3], [1, 2]])  # corners of `boxes.CORNERS`: the diagonals of the front face

Array = np.ndarray


def draw_boxes(boxes: Sequence[Box], frame: Frame) -> Float32[Array, "H W 3"]:
    """Draw the edges of boxes and a cross on their front faces, one channel per category.

    Args:
        boxes: at the time of the view.
        frame: the camera.
    """
    lines: dict[int, list[Float[Array, "2 3"]]] = {channel: [] for channel in BOX_CHANNELS.values()}
    for box in boxes:
        if box.category in BOX_CHANNELS:
            points = corners(box.world_from_object[None], np.asarray(box.size, float)[None])[0]
            lines[BOX_CHANNELS[box.category]] += list(points[np.concatenate([EDGES, _FRONT])])
    return np.stack([_draw_lines(lines[channel], frame) for channel in range(3)], -1).astype(np.float32)


def draw_lanes(lanes: Sequence[Lane], frame: Frame) -> Float32[Array, "H W 3"]:
    """Draw the lines of a map, one channel per kind; a pixel belongs to one kind.

    Args:
        lanes: of the map.
        frame: the camera.
    """
    lines: dict[int, list[Float[Array, "M 3"]]] = {channel: [] for channel in LANE_CHANNELS.values()}
    for lane in lanes:
        points = np.asarray(lane.points, float)
        is_open = lane.kind == "crosswalk" and not np.array_equal(points[0], points[-1])
        lines[LANE_CHANNELS[lane.kind]].append(np.concatenate([points, points[:1]]) if is_open else points)
    drawn = np.stack([_draw_lines(lines[channel], frame) for channel in range(3)], -1)
    is_first = np.cumsum(drawn, -1) == 1
    return (drawn & is_first).astype(np.float32)


def _draw_lines(lines: Sequence[Float[Array, "_ 3"]], frame: Frame) -> Bool[Array, "H W"]:
    """Draw polylines (meters, world) as thick lines."""
    camera_from_world, segments = invert_rigid(np.asarray(frame.world_from_camera, float)), [np.zeros((0, 2, 2))]
    for line in lines:
        pixels = clip_segments(transform(camera_from_world, line), STRICT) @ np.asarray(frame.K, float).T
        segments.append(pixels[..., :2] / pixels[..., 2:])
    thickness = max(THICKNESS * frame.width, 1.0)
    return draw_segments(np.concatenate(segments), thickness, frame.width, frame.height)
