"""Initial points of actors: LiDAR points and random points inside their boxes, colored from the images."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Float32

from ff_jax.data.points.visibility import color_points, inside_box
from ff_jax.data.scene_data import Box, SceneData, boxes_at, invert_rigid, transform

Array = np.ndarray

_COLOR_SAMPLES = 8  # boxes of a track, spread over time, whose images color its random points


def actor_points(
    scene: SceneData, track_ids: Sequence[str], count: int, rng: np.random.Generator
) -> list[tuple[Float32[Array, "count 3"], Float32[Array, "count 3"]]]:
    """Choose `count` initial points of every track in its object frame (meters), with colors.

    At most half of them are LiDAR points, which cover one side well and the others not at all; the rest is random and
    even in the box. Points in no training image are gray.

    Args:
        scene: the log; only its frames of split "train" give colors.
        track_ids: the tracks.
        count: number of points of each.
        rng: samples the points.
    """
    clouds = []
    for track_id, (xyz, rgb) in zip(track_ids, track_points(scene, track_ids, count // 2, rng), strict=True):
        boxes = [box for box in scene.boxes if box.track_id == track_id]
        random = rng.uniform(-0.5, 0.5, (count - len(xyz), 3)) * np.mean([box.size for box in boxes], 0)
        colors = _mean_colors(scene, boxes, random)
        clouds.append((np.concatenate([xyz, random]).astype(np.float32), np.concatenate([rgb, colors])))
    return clouds


def track_points(
    scene: SceneData, track_ids: Sequence[str], max_points: int, rng: np.random.Generator, *, margin: float = 0.05
) -> list[tuple[Float32[Array, "M 3"], Float32[Array, "M 3"]]]:
    """Collect the LiDAR points of every track in its object frame (meters) over time, with colors.

    Every sweep is read once.

    Args:
        scene: a log with sweeps.
        track_ids: the tracks.
        max_points: at most this many points of each.
        rng: samples the points.
        margin: meters added to the boxes.
    """
    parts = {name: [(np.zeros((0, 3)), np.zeros((0, 3), np.float32))] for name in track_ids}
    for sweep in scene.sweeps:
        boxes = [box for box in boxes_at(scene, sweep.time_index) if box.track_id in parts]
        world = sweep.load_world().astype(float) if boxes else np.zeros((0, 3))
        for box in boxes:
            local = transform(invert_rigid(box.world_from_object), world[inside_box(box, world, margin)])
            rgb, visible = _colors_at(scene, box, local)
            parts[box.track_id].append((local[visible], rgb[visible]))
    clouds = []
    for name in track_ids:
        xyz, rgb = (np.concatenate(part).astype(np.float32) for part in zip(*parts[name], strict=True))
        rows = np.sort(rng.choice(len(xyz), min(len(xyz), max_points), replace=False))
        clouds.append((xyz[rows], rgb[rows]))
    return clouds


def _mean_colors(scene: SceneData, boxes: Sequence[Box], local: Float[Array, "N 3"]) -> Float32[Array, "N 3"]:
    """Average the colors of object-frame points over some boxes of a track; gray for points in no image."""
    sample = [boxes[i] for i in np.unique(np.linspace(0, len(boxes) - 1, _COLOR_SAMPLES).round().astype(int))]
    colors = [_colors_at(scene, box, local) for box in sample]
    visible = np.stack([mask for _, mask in colors])[..., None]
    mean = np.sum([rgb * mask[:, None] for rgb, mask in colors], 0) / np.maximum(visible.sum(0), 1)
    return np.where(visible.any(0), mean, 0.5).astype(np.float32)


def _colors_at(scene: SceneData, box: Box, local: Float[Array, "N 3"]) -> tuple[Float32[Array, "N 3"], Array]:
    """Look up the colors of object-frame points at the time of `box`, and which of them are in an image.

    The object moves, so only images of the same time are used.
    """
    same = replace(scene, frames=tuple(f for f in scene.frames if f.time_index == box.time_index))
    if not same.frames:
        return np.full((len(local), 3), 0.5, np.float32), np.zeros(len(local), bool)
    return color_points(same, transform(box.world_from_object, local))
