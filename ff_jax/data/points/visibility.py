"""Which world points a camera sees, what colour they have there, and which points lie in a box."""

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import Box, Frame, SceneData, invert, transform

NEAR = 0.5  # metres: points closer to a camera belong to the own vehicle

Array = np.ndarray


def project_points(
    frame: Frame, xyz: Float[Array, "N 3"]
) -> tuple[Float[Array, "N 2"], Float[Array, "N"], Bool[Array, "N"]]:
    """Project world points: pixel coordinates (centres at .5), camera z in metres, and whether it is seen."""
    points = transform(invert(frame.world_from_camera), xyz)
    depth = points[:, 2]
    in_front = depth > NEAR
    pixels = (points @ frame.K.T)[:, :2] / np.where(in_front, depth, 1.0)[:, None]
    inside = in_front & (pixels >= 0).all(1) & (pixels[:, 0] < frame.width) & (pixels[:, 1] < frame.height)
    return pixels, depth, inside


def color_points(
    scene: SceneData,
    xyz: Float[Array, "N 3"],
    times: Float[Array, "N"] | None = None,
    *,
    window: float = np.inf,
) -> tuple[Float32[Array, "N 3"], Bool[Array, "N"]]:
    """Return the colour of every point in a training image that sees it, and whether there is one.

    Of several images the one nearest in time is taken, or, without times, the one whose camera is nearest to
    the point. Unseen points are grey. Every image is decoded at most once.

    Args:
        scene: the log.
        xyz: points in the world, metres.
        times: of the points, seconds.
        window: images farther away in time than this are not looked at, seconds.
    """
    frames = [frame for frame in scene.frames if frame.split == "train"]
    if times is None:
        chosen = _nearest_camera(frames, xyz)
    else:
        chosen = _nearest_time(frames, xyz, times, window)
    rgb = np.full((len(xyz), 3), 0.5, np.float32)
    for number in np.unique(chosen[chosen >= 0]):
        mine = np.flatnonzero(chosen == number)
        pixels, _, _ = project_points(frames[number], xyz[mine])
        column, row = pixels.astype(int).T
        rgb[mine] = load_image(frames[number])[row, column]
    return rgb, chosen >= 0


def _nearest_camera(frames: list[Frame], xyz: Float[Array, "N 3"]) -> Int[Array, "N"]:
    """Return which frame sees each point from the smallest depth; -1 where none does."""
    best, chosen = np.full(len(xyz), np.inf), np.full(len(xyz), -1)
    for number, frame in enumerate(frames):
        _, depth, inside = project_points(frame, xyz)
        better = inside & (depth < best)
        best[better], chosen[better] = depth[better], number
    return chosen


def _nearest_time(
    frames: list[Frame], xyz: Float[Array, "N 3"], times: Float[Array, "N"], window: float
) -> Int[Array, "N"]:
    """Return which frame that sees each point is nearest in time; -1 where none is."""
    chosen = np.full(len(xyz), -1)
    order = np.argsort(times, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(times[order])) + 1):
        if len(rows) == 0:
            continue
        distance = np.abs(np.array([frame.time for frame in frames]) - times[rows[0]])
        # Nearest first, and each frame is asked only for what no nearer one has seen.
        for number in np.argsort(distance, kind="stable")[: int((distance <= window).sum())]:
            inside = project_points(frames[number], xyz[rows])[2]
            chosen[rows[inside]] = number
            rows = rows[~inside]
    return chosen


def seen_by_any(scene: SceneData, xyz: Float[Array, "N 3"]) -> Bool[Array, "N"]:
    """Return which world points are in the image of some training camera."""
    seen = np.zeros(len(xyz), bool)
    for frame in scene.frames:
        if frame.split == "train":
            rest = np.flatnonzero(~seen)
            seen[rest] = project_points(frame, xyz[rest])[2]
    return seen


def inside_box(box: Box, xyz: Float[Array, "N 3"], margin: float = 0.0) -> Bool[Array, "N"]:
    """Return which world points lie in a box that is larger by `margin` metres on every side."""
    local = transform(invert(box.world_from_object), xyz)
    return (np.abs(local) <= box.size / 2 + margin).all(1)
