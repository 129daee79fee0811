"""First points of actors: what LiDAR and the images show inside their boxes."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Float32

from ff_jax.data.contract import Box, SceneData, invert, transform
from ff_jax.data.visibility import color_points, inside_box

Array = np.ndarray

_LOOKS = 8  # boxes of a track, spread over time, that lend their colours to drawn points


def actor_points(
    scene: SceneData, track_id: str, count: int, rng: np.random.Generator
) -> tuple[Float32[Array, "count 3"], Float32[Array, "count 3"]]:
    """Return points of one track in its object frame (metres) and their colours.

    At most half of them come from LiDAR, which sees one side well and the others not at all; the rest is drawn
    evenly in the box. Points that no training image shows while the track is boxed are grey.

    Args:
        scene: the log; only its frames of split "train" lend colours.
        track_id: the track.
        count: number of points.
        rng: draws them.
    """
    xyz, rgb = track_points(scene, track_id, count // 2, rng)
    boxes = [box for box in scene.boxes if box.track_id == track_id]
    drawn = rng.uniform(-0.5, 0.5, (count - len(xyz), 3)) * np.mean([box.size for box in boxes], 0)
    picked = [boxes[i] for i in np.unique(np.linspace(0, len(boxes) - 1, _LOOKS).round().astype(int))]
    looks = [_colors_at(scene, box, drawn) for box in picked]
    seen = np.stack([look[1] for look in looks])[..., None]
    mean = np.sum([look[0] * look[1][:, None] for look in looks], 0) / np.maximum(seen.sum(0), 1)
    colors = np.where(seen.any(0), mean, 0.5)
    return np.concatenate([xyz, drawn]).astype(np.float32), np.concatenate([rgb, colors]).astype(np.float32)


def track_points(
    scene: SceneData, track_id: str, max_points: int, rng: np.random.Generator, *, margin: float = 0.05
) -> tuple[Float32[Array, "M 3"], Float32[Array, "M 3"]]:
    """Return the LiDAR points of one track in its object frame (metres), gathered over time, with colours."""
    parts: list[tuple[Array, Array]] = [(np.zeros((0, 3)), np.zeros((0, 3), np.float32))]
    for box in (box for box in scene.boxes if box.track_id == track_id):
        for sweep in (sweep for sweep in scene.sweeps if sweep.time_index == box.time_index):
            world = sweep.load_world().astype(float)
            local = transform(invert(box.world_from_object), world[inside_box(box, world, margin)])
            rgb, seen = _colors_at(scene, box, local)
            parts.append((local[seen], rgb[seen]))
    xyz, rgb = (np.concatenate(part).astype(np.float32) for part in zip(*parts, strict=True))
    if len(xyz) <= max_points:
        return xyz, rgb
    rows = np.sort(rng.choice(len(xyz), max_points, replace=False))
    return xyz[rows], rgb[rows]


def _colors_at(scene: SceneData, box: Box, local: Float[Array, "N 3"]) -> tuple[Float32[Array, "N 3"], Array]:
    """Return the colours of object-frame points while they are in `box`, and which are seen.

    The object moves, so only images of the same time show it where these points are.
    """
    same = replace(scene, frames=tuple(f for f in scene.frames if f.time_index == box.time_index))
    if not same.frames:
        return np.full((len(local), 3), 0.5, np.float32), np.zeros(len(local), bool)
    return color_points(same, transform(box.world_from_object, local))
