"""Renders of shifted views with EIG, and the references that fixers get for them."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from ff_jax.eig.scene_posterior import EigRender, ScenePosterior, render_with_eig
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.reprojection import AlignConfig, Views, align, nearest_sources
from ff_jax.scene import SceneModel, View
from ff_jax.train.batch import as_float
from ff_jax.train.batches import TrainBatches
from ff_jax.train.loop import count_intersections, resize_capacity


def render_clip(model: SceneModel, posterior: ScenePosterior, views: Sequence[View]) -> EigRender:
    """Render views one after another with EIG; the capacity is increased if they need more. Colors are in [0, 1]."""
    settings = resize_capacity(model.settings, count_intersections(model.scene, views, model.settings))
    frames = [render_with_eig(model.replace(settings=settings), posterior, view) for view in views]
    clip = EigRender(*(jnp.stack(parts) for parts in zip(*frames, strict=True)))
    return clip._replace(rgb=jnp.clip(clip.rgb, 0.0, 1.0))


def aligned_references(
    clip: EigRender, views: Sequence[View], posterior: ScenePosterior, batches: TrainBatches, skip: int = 0
) -> Float[Array, "T H W 3"]:
    """Re-project the recorded images to the pixels of a rendered clip (see `fixers.reprojection`).

    Views are processed one by one, so that only the recorded images of one view are in memory.

    Args:
        clip: renders of `views`.
        views: the views.
        posterior: gives the depths of the recorded views.
        batches: recorded frames.
        skip: number of recorded images nearest in time that are left out.
    """
    config = AlignConfig()
    times = np.array([float(view.time) for view in views])
    recorded_times = np.array([frame.time for frame in batches.recording.frames], np.float32)
    nearest = nearest_sources(times, recorded_times, config.num_sources, skip)

    def one(number: int) -> Float[Array, "1 H W 3"]:
        recorded = [batches.batch(int(index)) for index in nearest[number]]
        images = jnp.stack([as_float(batch.image) for batch in recorded])
        sources = _with_cameras(images, posterior.depths[nearest[number]], [batch.view for batch in recorded])
        target = _with_cameras(clip.rgb[number][None], clip.depth[number][None], [views[number]])
        return align(target, sources, jnp.arange(len(recorded))[None], config)

    return jnp.concatenate([one(number) for number in range(len(views))])


def _with_cameras(images: Float[Array, "T H W 3"], depths: Float[Array, "T H W"], views: Sequence[View]) -> Views:
    cameras = [view.camera for view in views]
    stacked = (jnp.stack([getattr(camera, name) for camera in cameras]) for name in ("K", "camera_from_world"))
    return Views(images, depths, *stacked)


def references_for(
    fixer: Fixer,
    clip: EigRender,
    views: Sequence[View],
    nearest: Sequence[int],
    posterior: ScenePosterior,
    batches: TrainBatches,
) -> Float[Array, "T H W 3"]:
    """Make the references of a fixer: recorded images of about the same time, re-projected if the fixer needs that.

    Args:
        fixer: the fixer.
        clip: renders of `views`.
        views: the views.
        nearest: for each view, the index of the recorded frame of about the same time.
        posterior: gives the depths of the recorded views.
        batches: recorded frames.
    """
    if fixer.use_aligned_references:
        return aligned_references(clip, views, posterior, batches)
    return jnp.stack([as_float(batches.batch(index).image) for index in nearest])
