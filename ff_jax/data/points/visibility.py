"""Project world points to frames: visibility, colors, and points inside boxes."""

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import Box, Frame, SceneData, invert_rigid, transform

NEAR = 0.5  # meters: points closer to a camera belong to the ego vehicle
_BLOCK = 1 << 12  # points that are projected to all frames while they are in the processor's cache

Array = np.ndarray


def project_points(
    frame: Frame, xyz: Float[Array, "N 3"]
) -> tuple[Float[Array, "N 2"], Float[Array, "N"], Bool[Array, "N"]]:
    """Project world points: pixel coordinates (centers at .5), camera z in meters, and which are in the image."""
    points = transform(invert_rigid(frame.world_from_camera), xyz)
    depth = points[:, 2]
    in_front = depth > NEAR
    pixels = (points @ frame.K.T)[:, :2] / np.where(in_front, depth, 1.0)[:, None]
    inside = in_front & (pixels >= 0).all(1) & (pixels[:, 0] < frame.width) & (pixels[:, 1] < frame.height)
    return pixels, depth, inside


def color_points(
    scene: SceneData, xyz: Float[Array, "N 3"], times: Float[Array, "N"] | None = None, *, window: float = np.inf
) -> tuple[Float32[Array, "N 3"], Bool[Array, "N"]]:
    """Look up the color of every point in a training image.

    Of several images the one nearest in time is used, or, without times, the one whose camera is nearest to the
    point. Every image is decoded at most once.

    Args:
        scene: the log.
        xyz: points in the world, meters.
        times: of the points, seconds.
        window: largest difference in time to an image, seconds.

    Returns:
        Colors in [0, 1] (gray for points in no image), and which points are in an image.
    """
    frames = [frame for frame in scene.frames if frame.split == "train"]
    if times is None:
        source = _nearest_camera(frames, xyz)
    else:
        source = _nearest_time(frames, xyz, times, window)
    rgb = np.full((len(xyz), 3), 0.5, np.float32)
    for number in np.unique(source[source >= 0]):
        rows = np.flatnonzero(source == number)
        pixels, _, _ = project_points(frames[number], xyz[rows])
        column, row = pixels.astype(int).T
        rgb[rows] = load_image(frames[number])[row, column]
    return rgb, source >= 0


def _nearest_camera(frames: list[Frame], xyz: Float[Array, "N 3"]) -> Int[Array, "N"]:
    """Find the frame with the smallest depth of each point; -1 where it is in no image."""
    best, source = np.full(len(xyz), np.inf), np.full(len(xyz), -1)
    for block in _blocks(len(xyz)):
        points, nearest, owner = xyz[block], best[block], source[block]
        for number, frame in enumerate(frames):
            _, depth, inside = project_points(frame, points)
            better = inside & (depth < nearest)
            nearest[better], owner[better] = depth[better], number
    return source


def _blocks(count: int) -> list[slice]:
    """Divide `count` points into blocks."""
    return [slice(start, start + _BLOCK) for start in range(0, count, _BLOCK)]


def _nearest_time(
    frames: list[Frame], xyz: Float[Array, "N 3"], times: Float[Array, "N"], window: float
) -> Int[Array, "N"]:
    """Find the frame nearest in time whose image contains each point; -1 where there is none."""
    source = np.full(len(xyz), -1)
    order = np.argsort(times, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(times[order])) + 1):
        if len(rows) == 0:
            continue
        distance = np.abs(np.array([frame.time for frame in frames]) - times[rows[0]])
        # Nearest first; each frame tests only the points that are not in a nearer one.
        for number in np.argsort(distance, kind="stable")[: int((distance <= window).sum())]:
            inside = project_points(frames[number], xyz[rows])[2]
            source[rows[inside]] = number
            rows = rows[~inside]
    return source


def is_visible(scene: SceneData, xyz: Float[Array, "N 3"]) -> Bool[Array, "N"]:
    """Test which world points are in the image of some training camera."""
    visible = np.zeros(len(xyz), bool)
    frames = [frame for frame in scene.frames if frame.split == "train"]
    for block in _blocks(len(xyz)):
        points, found = xyz[block], visible[block]
        for frame in frames:
            rest = np.flatnonzero(~found)
            found[rest] = project_points(frame, points[rest])[2]
    return visible


def inside_box(box: Box, xyz: Float[Array, "N 3"], margin: float = 0.0) -> Bool[Array, "N"]:
    """Test which world points are in a box that is larger by `margin` meters on every side."""
    local = transform(invert_rigid(box.world_from_object), xyz)
    return np.all(np.abs(local) <= box.size / 2 + margin, axis=1)
