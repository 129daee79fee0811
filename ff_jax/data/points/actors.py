"""First points of actors: what LiDAR and the images show inside their boxes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Float32

from ff_jax.data.points.visibility import color_points, inside_box
from ff_jax.data.scene_data import Box, SceneData, boxes_at, invert, transform

Array = np.ndarray

_LOOKS = 8  # boxes of a track, spread over time, that lend their colours to drawn points


def actor_points(
    scene: SceneData, track_ids: Sequence[str], count: int, rng: np.random.Generator
) -> list[tuple[Float32[Array, "count 3"], Float32[Array, "count 3"]]]:
    """Return `count` points of every track in its object frame (metres) and their colours.

    At most half of them come from LiDAR, which sees one side well and the others not at all; the rest is drawn
    evenly in the box. Points that no training image shows while the track is boxed are grey.

    Args:
        scene: the log; only its frames of split "train" lend colours.
        track_ids: the tracks.
        count: number of points of each.
        rng: draws them.
    """
    clouds = []
    for track_id, (xyz, rgb) in zip(track_ids, track_points(scene, track_ids, count // 2, rng), strict=True):
        boxes = [box for box in scene.boxes if box.track_id == track_id]
        drawn = rng.uniform(-0.5, 0.5, (count - len(xyz), 3)) * np.mean([box.size for box in boxes], 0)
        colors = _mean_colors(scene, boxes, drawn)
        clouds.append((np.concatenate([xyz, drawn]).astype(np.float32), np.concatenate([rgb, colors])))
    return clouds


def track_points(
    scene: SceneData, track_ids: Sequence[str], max_points: int, rng: np.random.Generator, *, margin: float = 0.05
) -> list[tuple[Float32[Array, "M 3"], Float32[Array, "M 3"]]]:
    """Return the LiDAR points of every track in its object frame (metres), gathered over time, with colours.

    Every sweep is read once; `margin` (metres) is added to the boxes.
    """
    parts = {name: [(np.zeros((0, 3)), np.zeros((0, 3), np.float32))] for name in track_ids}
    for sweep in scene.sweeps:
        boxes = [box for box in boxes_at(scene, sweep.time_index) if box.track_id in parts]
        world = sweep.load_world().astype(float) if boxes else np.zeros((0, 3))
        for box in boxes:
            local = transform(invert(box.world_from_object), world[inside_box(box, world, margin)])
            rgb, seen = _colors_at(scene, box, local)
            parts[box.track_id].append((local[seen], rgb[seen]))
    clouds = []
    for name in track_ids:
        xyz, rgb = (np.concatenate(part).astype(np.float32) for part in zip(*parts[name], strict=True))
        rows = np.sort(rng.choice(len(xyz), min(len(xyz), max_points), replace=False))
        clouds.append((xyz[rows], rgb[rows]))
    return clouds


def _mean_colors(scene: SceneData, boxes: Sequence[Box], local: Float[Array, "N 3"]) -> Float32[Array, "N 3"]:
    """Return the mean colour of object-frame points over some of a track's boxes; grey where none shows them."""
    picked = [boxes[i] for i in np.unique(np.linspace(0, len(boxes) - 1, _LOOKS).round().astype(int))]
    looks = [_colors_at(scene, box, local) for box in picked]
    seen = np.stack([look[1] for look in looks])[..., None]
    mean = np.sum([rgb * shown[:, None] for rgb, shown in looks], 0) / np.maximum(seen.sum(0), 1)
    return np.where(seen.any(0), mean, 0.5).astype(np.float32)


def _colors_at(scene: SceneData, box: Box, local: Float[Array, "N 3"]) -> tuple[Float32[Array, "N 3"], Array]:
    """Return the colours of object-frame points while they are in `box`, and which are seen.

    The object moves, so only images of the same time show it where these points are.
    """
    same = replace(scene, frames=tuple(f for f in scene.frames if f.time_index == box.time_index))
    if not same.frames:
        return np.full((len(local), 3), 0.5, np.float32), np.zeros(len(local), bool)
    return color_points(same, transform(box.world_from_object, local))
