"""Ground truth of NTL-IoU: the polylines of a lane map as a camera sees them, drawn as thick lines.

NTL-IoU ("novel trajectory lane IoU", DriveDreamer4D, arXiv 2410.13571) compares what a lane network finds in an
image with this picture. `PUBLISHED` draws it as that protocol does:

- Road edges, lane lines and the two long sides of crosswalks that have four corners; nothing hides anything.
- Map points farther than 75 m from the camera, or 10 m or more above or below it, are dropped, which cuts a
  polyline in two. Points behind the camera are dropped as well, but there the polyline is joined up again. A long
  segment therefore vanishes with either of its ends.
- What is left is truncated to whole pixels of a 1920 x 1280 picture, drawn 20 pixels thick (which OpenCV paints as
  21) and brought to the 640 x 360 pixels of the network without antialiasing; every pixel touched at all counts.

Images of other sizes get the same picture: K is scaled to it, each axis by itself.

`STRICT` cuts segments exactly where they leave the range or the half-space in front of the camera, and draws at the
network's own size, 5 pixels thick: so thick are the lines that TwinLiteNet itself paints on real images (KITTI, DDAD),
measured as their area divided by the length of their skeleton.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ff_jax.data.scene_data import LANE_KINDS, Lane, invert, transform
from ff_jax.runtime.resize import resize_bilinear

WIDTH, HEIGHT = 640, 360  # pixels that the lane network sees, whatever the shape of the image


@dataclass(frozen=True)
class LaneProtocol:
    """How a lane map becomes a picture."""

    width: int  # pixels: the picture is drawn at this size
    height: int
    thickness: float  # pixels of that picture; lines have round ends
    reach: float = 75.0  # metres from the camera
    level: float = 10.0  # metres above or below the camera
    near: float = 1e-3  # metres along the view
    exact: bool = False  # cut segments at the limits; else drop map points and truncate pixels, as published


PUBLISHED = LaneProtocol(width=1920, height=1280, thickness=21.0)
# A near plane of 0.1 m keeps coordinates small; what lies before it is far below any image.
STRICT = LaneProtocol(width=WIDTH, height=HEIGHT, thickness=5.0, near=0.1, exact=True)


def raster(
    lanes: Sequence[Lane],
    K: Float[np.ndarray, "3 3"],
    world_from_camera: Float[np.ndarray, "4 4"],
    width: int,
    height: int,
    protocol: LaneProtocol = PUBLISHED,
) -> Bool[np.ndarray, "360 640"]:
    """Return where a camera should see lanes, at the size of the lane network.

    Args:
        lanes: of the map, in the world.
        K: intrinsics of an image of `width` x `height` pixels, without distortion.
        world_from_camera: OpenCV axes, metres.
        width: of that image, pixels.
        height: of that image, pixels.
        protocol: `PUBLISHED` or `STRICT`, or one of your own.

    Raises:
        ValueError: the image has no pixel, or a lane has an unknown kind or points that are not finite.
    """
    if min(width, height) < 1:
        raise ValueError(f"{width=}, {height=}: give the size of the image that K describes.")
    scale = np.array([protocol.width / width, protocol.height / height, 1.0])
    camera_from_world = invert(np.asarray(world_from_camera, np.float64))
    parts = [np.zeros((0, 2, 2))]
    for line in _polylines(lanes):
        points = transform(camera_from_world, line)
        segments = clipped(points, protocol) if protocol.exact else kept(points, protocol)
        pixels = segments @ (scale[:, None] * K).T
        parts.append(pixels[..., :2] / pixels[..., 2:])
    segments = np.concatenate(parts)
    if not protocol.exact:
        segments = np.floor(segments) + 0.5
    picture = draw_segments(segments, protocol.thickness, protocol.width, protocol.height)
    if picture.shape == (HEIGHT, WIDTH):
        return picture
    return resize_bilinear(picture.astype(np.float32), HEIGHT, WIDTH) > 1 / 255


def kept(points: Float[np.ndarray, "M 3"], protocol: LaneProtocol) -> Float[np.ndarray, "S 2 3"]:
    """Return the segments between map points (camera frame, metres) that the published protocol keeps."""
    known = (np.linalg.norm(points, axis=1) < protocol.reach) & (np.abs(points[:, 1]) < protocol.level)
    run = np.cumsum(~known)  # points of one number have no dropped point between them
    rows = np.flatnonzero(known & (points[:, 2] > protocol.near))
    joined = run[rows[1:]] == run[rows[:-1]]
    return np.stack([points[rows[:-1]], points[rows[1:]]], 1)[joined]


def clipped(points: Float[np.ndarray, "M 3"], protocol: LaneProtocol) -> Float[np.ndarray, "S 2 3"]:
    """Return the parts of the segments of a polyline (camera frame, metres) within all limits of the protocol.

    The limits are a ball, a slab and a half-space: what they share is convex, so a segment has one part in it.
    """
    start, along = points[:-1], np.diff(points, axis=0)
    start, along = start[along.any(1)], along[along.any(1)]
    a, b = (along**2).sum(1), (start * along).sum(1)
    square = b**2 - a * ((start**2).sum(1) - protocol.reach**2)
    root = np.sqrt(np.maximum(square, 0))
    low, high = np.maximum((-b - root) / a, 0), np.minimum((-b + root) / a, 1)
    for value, slope in (
        (start[:, 2] - protocol.near, along[:, 2]),
        (protocol.level - start[:, 1], -along[:, 1]),
        (protocol.level + start[:, 1], along[:, 1]),
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
    """Return the pixels whose centre is at most half of `thickness` away from any segment (pixels, centres at .5)."""
    picture = np.zeros((height, width), bool)
    radius = thickness / 2
    # Without the margin a segment beyond the image could still draw its round end.
    low = np.floor(np.clip(segments.min(1) - radius, 0, (width, height))).astype(int)
    high = np.ceil(np.clip(segments.max(1) + radius, 0, (width, height))).astype(int)
    for (start, end), (left, top), (right, bottom) in zip(segments, low, high, strict=True):
        if left >= right or top >= bottom:
            continue
        x = np.arange(left, right) + 0.5 - start[0]
        y = (np.arange(top, bottom) + 0.5 - start[1])[:, None]
        along = end - start
        share = np.clip((x * along[0] + y * along[1]) / max(along @ along, 1e-12), 0, 1)
        far = (x - share * along[0]) ** 2 + (y - share * along[1]) ** 2
        picture[top:bottom, left:right] |= far <= radius**2
    return picture


def _polylines(lanes: Sequence[Lane]) -> list[Float[np.ndarray, "M 3"]]:
    lines: list[np.ndarray] = []
    for lane in lanes:
        if lane.kind not in LANE_KINDS or not np.isfinite(lane.points).all():
            raise ValueError(f"lane of {lane.kind=}: use one of {', '.join(LANE_KINDS)} and finite points.")
        points = np.asarray(lane.points, np.float64)
        lines += _long_sides(points) if lane.kind == "crosswalk" else [points]
    return lines


def _long_sides(outline: Float[np.ndarray, "M 3"]) -> list[Float[np.ndarray, "2 3"]]:
    """Return the two long sides of a crosswalk; none if it does not have four corners."""
    if len(outline) > 1 and np.array_equal(outline[0], outline[-1]):
        outline = outline[:-1]
    if len(outline) != 4:
        return []
    first, second, third = np.linalg.norm(np.diff(outline, axis=0), axis=1)
    turned = outline if max(first, third) >= second else np.roll(outline, -1, 0)
    return [turned[:2], turned[2:]]
