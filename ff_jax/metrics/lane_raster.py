"""Draw the ground truth of NTL-IoU: the polylines of a lane map in a camera, as thick lines.

NTL-IoU ("novel trajectory lane IoU", DriveDreamer4D, arXiv 2410.13571) compares the lanes that a network detects with
this picture. `PUBLISHED` follows its released code:

- Road edges, lane lines and the two long sides of crosswalks with four corners are drawn; nothing occludes them.
- Map points farther than 75 m from the camera, or 10 m or more above or below it, are dropped, which splits a
  polyline. Points behind the camera are dropped too, but there the polyline is joined again. A long segment therefore
  vanishes with either of its ends.
- The rest is truncated to whole pixels of a 1920 x 1280 picture, drawn 20 pixels thick (21 in OpenCV) and resized to
  the 640 x 360 pixels of the network without antialiasing; every pixel that is touched counts.

K is scaled to that picture for images of other sizes, each axis separately.

`STRICT` clips segments at the range and at the near plane, and draws at the network's own size, 5 pixels thick: the
thickness of TwinLiteNet's lines in real images (KITTI, DDAD), measured as area divided by length of the skeleton.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ff_jax.data.scene_data import LANE_KINDS, Lane, invert_rigid, transform
from ff_jax.runtime.resize import resize_bilinear

WIDTH, HEIGHT = 640, 360  # pixels, input of the lane network


@dataclass(frozen=True)
class LaneProtocol:
    """How to draw a lane map."""

    width: int  # pixels of the picture
    height: int
    thickness: float  # pixels of that picture; lines have round ends
    max_distance: float = 75.0  # meters from the camera
    max_height: float = 10.0  # meters above or below the camera
    near: float = 1e-3  # meters along the optical axis
    use_clipping: bool = False  # clip segments at the limits; else drop map points and truncate pixels, as published


PUBLISHED = LaneProtocol(width=1920, height=1280, thickness=21.0)
# A near plane of 0.1 m keeps coordinates small; nearer points are far below the image.
STRICT = LaneProtocol(width=WIDTH, height=HEIGHT, thickness=5.0, near=0.1, use_clipping=True)


def rasterize_lanes(
    lanes: Sequence[Lane],
    K: Float[np.ndarray, "3 3"],
    world_from_camera: Float[np.ndarray, "4 4"],
    width: int,
    height: int,
    protocol: LaneProtocol = PUBLISHED,
) -> Bool[np.ndarray, "360 640"]:
    """Draw the lanes in a camera, at the size of the lane network.

    Args:
        lanes: of the map, in world coordinates.
        K: intrinsics of an image of `width` x `height` pixels, without distortion.
        world_from_camera: OpenCV axes, meters.
        width: of that image, pixels.
        height: of that image, pixels.
        protocol: `PUBLISHED`, `STRICT` or another one.

    Raises:
        ValueError: the image has no pixel, or a lane has an unknown kind or points that are not finite.
    """
    if min(width, height) < 1:
        raise ValueError(f"invalid {width=}, {height=}: expected the size of the image that K describes.")
    scale = np.array([protocol.width / width, protocol.height / height, 1.0])
    camera_from_world = invert_rigid(np.asarray(world_from_camera, np.float64))
    pixel_segments = [np.zeros((0, 2, 2))]
    for line in _polylines(lanes):
        points = transform(camera_from_world, line)
        segments = clip_segments(points, protocol) if protocol.use_clipping else published_segments(points, protocol)
        pixels = segments @ (scale[:, None] * K).T
        pixel_segments.append(pixels[..., :2] / pixels[..., 2:])
    segments = np.concatenate(pixel_segments)
    if not protocol.use_clipping:
        segments = np.floor(segments) + 0.5
    picture = draw_segments(segments, protocol.thickness, protocol.width, protocol.height)
    if picture.shape == (HEIGHT, WIDTH):
        return picture
    return resize_bilinear(picture.astype(np.float32), HEIGHT, WIDTH) > 1 / 255


def published_segments(points: Float[np.ndarray, "M 3"], protocol: LaneProtocol) -> Float[np.ndarray, "S 2 3"]:
    """Select the segments between map points (camera frame, meters) as the published protocol does."""
    in_range = (np.linalg.norm(points, axis=1) < protocol.max_distance) & (np.abs(points[:, 1]) < protocol.max_height)
    run = np.cumsum(~in_range)  # points with one number have no dropped point between them
    rows = np.flatnonzero(in_range & (points[:, 2] > protocol.near))
    joined = run[rows[1:]] == run[rows[:-1]]
    return np.stack([points[rows[:-1]], points[rows[1:]]], 1)[joined]


def clip_segments(points: Float[np.ndarray, "M 3"], protocol: LaneProtocol) -> Float[np.ndarray, "S 2 3"]:
    """Clip the segments of a polyline (camera frame, meters) at all limits of the protocol.

    The limits are a ball, a slab and a half-space. Their intersection is convex, so a segment has one part in it.
    """
    start, along = points[:-1], np.diff(points, axis=0)
    start, along = start[along.any(1)], along[along.any(1)]
    a, b = (along**2).sum(1), (start * along).sum(1)
    square = b**2 - a * ((start**2).sum(1) - protocol.max_distance**2)
    root = np.sqrt(np.maximum(square, 0))
    low, high = np.maximum((-b - root) / a, 0), np.minimum((-b + root) / a, 1)
    for value, slope in (
        (start[:, 2] - protocol.near, along[:, 2]),
        (protocol.max_height - start[:, 1], -along[:, 1]),
        (protocol.max_height + start[:, 1], along[:, 1]),
    ):
        crossing = -value / np.where(slope == 0, 1, slope)
        low = np.where(slope > 0, np.maximum(low, crossing), low)
        high = np.where(slope < 0, np.minimum(high, crossing), high)
        high = np.where((slope == 0) & (value < 0), -1, high)
    inside = (square > 0) & (low < high)
    ends = start[:, None] + np.stack([low, high], 1)[..., None] * along[:, None]
    return ends[inside]


def draw_segments(
    segments: Float[np.ndarray, "S 2 2"], thickness: float, width: int, height: int
) -> Bool[np.ndarray, "{height} {width}"]:
    """Draw the pixels whose center is within half of `thickness` of any segment (pixels, centers at .5)."""
    picture = np.zeros((height, width), bool)
    radius = thickness / 2
    # The margin keeps the round ends of segments outside the image.
    low = np.floor(np.clip(segments.min(1) - radius, 0, (width, height))).astype(int)
    high = np.ceil(np.clip(segments.max(1) + radius, 0, (width, height))).astype(int)
    for (start, end), (left, top), (right, bottom) in zip(segments, low, high, strict=True):
        if left >= right or top >= bottom:
            continue
        x = np.arange(left, right) + 0.5 - start[0]
        y = (np.arange(top, bottom) + 0.5 - start[1])[:, None]
        along = end - start
        fraction = np.clip((x * along[0] + y * along[1]) / max(along @ along, 1e-12), 0, 1)
        distance2 = (x - fraction * along[0]) ** 2 + (y - fraction * along[1]) ** 2
        picture[top:bottom, left:right] |= distance2 <= radius**2
    return picture


def _polylines(lanes: Sequence[Lane]) -> list[Float[np.ndarray, "M 3"]]:
    lines: list[np.ndarray] = []
    for lane in lanes:
        if lane.kind not in LANE_KINDS or not np.isfinite(lane.points).all():
            raise ValueError(
                f"invalid lane of {lane.kind=}: expected one of {', '.join(LANE_KINDS)} and finite points."
            )
        points = np.asarray(lane.points, np.float64)
        lines += _long_sides(points) if lane.kind == "crosswalk" else [points]
    return lines


def _long_sides(outline: Float[np.ndarray, "M 3"]) -> list[Float[np.ndarray, "2 3"]]:
    """Select the two long sides of a crosswalk; none unless it has four corners."""
    if len(outline) > 1 and np.array_equal(outline[0], outline[-1]):
        outline = outline[:-1]
    if len(outline) != 4:
        return []
    first, second, third = np.linalg.norm(np.diff(outline, axis=0), axis=1)
    sides = outline if max(first, third) >= second else np.roll(outline, -1, 0)
    return [sides[:2], sides[2:]]
