"""The measured points that supervise the depth of pseudo-views: LiDAR, or structure from motion and plane sweeping."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ff_jax.data.points.surface import SurfacePoints, make_surface
from ff_jax.data.scene_data import transform
from ff_jax.eig.scene_posterior import ScenePosterior
from ff_jax.fixers.multi_view_depth import confirmed, sweep_depth
from ff_jax.fixers.reprojection import Views
from ff_jax.render.camera import require_pinhole
from ff_jax.render.renderer import SKY_DEPTH
from ff_jax.train.batch import as_float
from ff_jax.train.batches import TrainBatches

NUM_SOURCES = 6  # recorded images of the same camera, nearest in position, that measure the depth of one
MIN_PARALLAX = 0.3  # meters between the positions of two images that are compared
MIN_SOURCES = 3  # fewer cannot confirm a depth


def points_at_event(
    stored: SurfacePoints | None, batches: TrainBatches, posterior: ScenePosterior, rng: np.random.Generator
) -> SurfacePoints | None:
    """Return the measured points of a log at a fix event; None if there are too few.

    Args:
        stored: points of the log itself, from `surface_points`; those of LiDAR are returned as they are.
        batches: the recorded frames.
        posterior: its rendered depths are where plane sweeping begins.
        rng: samples the points where there are too many.
    """
    if batches.recording.sweeps:
        return stored
    swept = swept_points(batches, posterior)
    return make_surface(swept if stored is None else np.concatenate([stored.static, swept]), rng)


def swept_points(batches: TrainBatches, posterior: ScenePosterior) -> Float[np.ndarray, "N 3"]:
    """Measure points (meters, world) of all recorded images by plane sweeping."""
    frames = batches.recording.frames
    neighbors = {index: _neighbors(batches, index) for index in range(len(frames))}
    neighbors = {index: others for index, others in neighbors.items() if len(others) >= MIN_SOURCES}
    if not neighbors:
        return np.zeros((0, 3))
    depths = {index: sweep_depth(*_views(batches, posterior.depths, index, neighbors[index])) for index in neighbors}
    measured = jnp.stack([depths.get(index, jnp.zeros_like(posterior.depths[0])) for index in range(len(frames))])
    parts = []
    for index, others in neighbors.items():
        view, sources = _views(batches, measured, index, others)
        keep = confirmed(depths[index], view, sources) & (batches.batch(index).weight > 0)
        depth = np.where(np.asarray(keep), np.asarray(depths[index]), 0.0)
        parts.append(_unproject(depth, frames[index].K, frames[index].world_from_camera))
    return np.concatenate(parts)


def _neighbors(batches: TrainBatches, index: int) -> list[int]:
    """List recorded images of the same camera from other positions, nearest first."""
    frames, frame = batches.recording.frames, batches.recording.frames[index]
    distance = {
        other: float(np.linalg.norm(frames[other].world_from_camera[:3, 3] - frame.world_from_camera[:3, 3]))
        for other in range(len(frames))
        if frames[other].camera == frame.camera and other != index
    }
    apart = [other for other in distance if distance[other] >= MIN_PARALLAX]
    return sorted(apart, key=distance.__getitem__)[:NUM_SOURCES]


def _views(
    batches: TrainBatches, depths: Float[jax.Array, "F H W"], index: int, others: Sequence[int]
) -> tuple[Views, Views]:
    """Return a recorded image and some others with their depths (meters; 0, which measures nothing, in the sky)."""

    def one(number: int) -> Views:
        batch = batches.batch(number)
        camera = batch.view.camera
        require_pinhole(camera, "measuring points between recorded images")
        depth = jnp.where(depths[number] < SKY_DEPTH, depths[number], 0.0)
        return Views(as_float(batch.image), depth, camera.K, camera.camera_from_world)

    return one(index), jax.tree.map(lambda *x: jnp.stack(x), *(one(number) for number in others))


def _unproject(
    depth: Float[np.ndarray, "H W"], K: Float[np.ndarray, "3 3"], world_from_camera: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, "N 3"]:
    """Convert the pixels with a depth to world points, meters."""
    row, column = np.nonzero(depth)
    pixels = np.stack([column + 0.5, row + 0.5, np.ones(len(row))], -1)
    return transform(world_from_camera, depth[row, column, None] * (pixels @ np.linalg.inv(K).T))
