"""Which world points a camera sees, what colour they have there, and which points lie in a box."""

import numpy as np
from jaxtyping import Bool, Float, Float32

from ff_jax.data.contract import Box, Frame, SceneData, invert, transform
from ff_jax.data.loader import load_image

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
    scene: SceneData, xyz: Float[Array, "N 3"], times: Float[Array, "N"] | None = None
) -> tuple[Float32[Array, "N 3"], Bool[Array, "N"]]:
    """Return the colour of every point in the training image that sees it, and whether any does.

    Of several images the one nearest to `times` (seconds) is taken, or, without times, the one whose camera
    is nearest to the point. Unseen points are grey. Every image is decoded at most once.
    """
    frames = [frame for frame in scene.frames if frame.split == "train"]
    best, chosen = np.full(len(xyz), np.inf), np.full(len(xyz), -1)
    for number, frame in enumerate(frames):
        _, depth, inside = project_points(frame, xyz)
        cost = depth if times is None else np.abs(times - frame.time)
        better = inside & (cost < best)
        best[better], chosen[better] = cost[better], number
    rgb = np.full((len(xyz), 3), 0.5, np.float32)
    for number in np.unique(chosen[chosen >= 0]):
        mine = np.flatnonzero(chosen == number)
        pixels, _, _ = project_points(frames[number], xyz[mine])
        column, row = pixels.astype(int).T
        rgb[mine] = load_image(frames[number])[row, column]
    return rgb, chosen >= 0


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
