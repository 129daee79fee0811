"""Renders of shifted views with EIG, and the references that fixers get for them."""

from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, UInt8

from ff_jax.data.scene_data import invert_rigid
from ff_jax.eig.scene_posterior import EigRender, ScenePosterior, render_with_eig
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.reprojection import AlignConfig, Views, align, align_each, nearest_sources, seen_shares
from ff_jax.fixers.triples import as_bytes
from ff_jax.render.camera import require_pinhole
from ff_jax.scene import SceneModel, View
from ff_jax.train.batch import as_float
from ff_jax.train.batches import TrainBatches
from ff_jax.train.capacity import count_intersections, resize_capacity


def render_clip(model: SceneModel, posterior: ScenePosterior, views: Sequence[View]) -> EigRender:
    """Render views one after another with EIG; the capacity is increased if they need more. Colors are in [0, 1]."""
    model = enlarged(model, views)
    frames = [render_with_eig(model, posterior, view) for view in views]
    clip = EigRender(*(jnp.stack(parts) for parts in zip(*frames, strict=True)))
    return clip._replace(rgb=jnp.clip(clip.rgb, 0.0, 1.0))


def enlarged(model: SceneModel, views: Sequence[View]) -> SceneModel:
    """Return the model with a renderer capacity that is sufficient for views."""
    count = count_intersections(model.scene, views, model.settings)
    return model.replace(settings=resize_capacity(model.settings, count))


def aligned_references(
    clip: EigRender, views: Sequence[View], posterior: ScenePosterior, batches: TrainBatches, skip: int = 0
) -> Float[Array, "T H W 3"]:
    """Re-project the recorded images to the pixels of a rendered clip, merged (see `fixers.reprojection.align`).

    Views are processed one by one, so that only the recorded images of one view are in memory.

    Args:
        clip: renders of `views`.
        views: the views.
        posterior: gives the depths of the recorded views.
        batches: recorded frames.
        skip: number of recorded images nearest in time that are left out.
    """
    inputs = inputs_of_alignment(clip, views, posterior, batches, skip)
    return jnp.concatenate([align(target, sources, order, AlignConfig()) for target, sources, order in inputs])


def separate_references(
    clip: EigRender, views: Sequence[View], posterior: ScenePosterior, batches: TrainBatches, skip: int = 0
) -> UInt8[Array, "T K H W 4"]:
    """Re-project the recorded images to the pixels of a rendered clip, several per view (see `align_each`).

    Takes the same arguments as `aligned_references`. Colors and confidence are bytes, for the sake of memory.
    """
    inputs = inputs_of_alignment(clip, views, posterior, batches, skip)
    return jnp.concatenate(
        [as_bytes(align_each(target, sources, order, AlignConfig())) for target, sources, order in inputs]
    )


def inputs_of_alignment(
    clip: EigRender, views: Sequence[View], posterior: ScenePosterior, batches: TrainBatches, skip: int
) -> Iterator[tuple[Views, Views, Int[Array, "1 k"]]]:
    """Yield every view with its sources and their order, nearest first; only one view is in memory at a time."""
    frames = batches.recording.frames
    recorded_times = np.array([frame.time for frame in frames], np.float32)
    cameras = np.stack([frame.K for frame in frames]), invert_rigid(np.stack([f.world_from_camera for f in frames]))
    for number, view in enumerate(views):
        require_pinhole(view.camera, "aligning recorded images with a render")
        own_camera = np.asarray(view.camera.K, np.float64), np.asarray(view.camera.camera_from_world, np.float64)
        shares = seen_shares(np.asarray(clip.depth[number]), own_camera, cameras)
        nearest = nearest_sources(
            np.array([float(view.time)]), recorded_times, AlignConfig().num_sources, skip, shares[None]
        )
        recorded = [batches.batch(int(index)) for index in nearest[0]]
        images = jnp.stack([as_float(batch.image) for batch in recorded])
        sources = _with_cameras(images, posterior.depths[nearest[0]], [batch.view for batch in recorded])
        target = _with_cameras(clip.rgb[number][None], clip.depth[number][None], [view])
        yield target, sources, jnp.arange(len(recorded))[None]


def _with_cameras(images: Float[Array, "T H W 3"], depths: Float[Array, "T H W"], views: Sequence[View]) -> Views:
    cameras = [view.camera for view in views]
    for camera in cameras:
        require_pinhole(camera, "re-projecting recorded images")
    stacked = (jnp.stack([getattr(camera, name) for camera in cameras]) for name in ("K", "camera_from_world"))
    return Views(images, depths, *stacked)


def references_for(
    fixer: Fixer,
    clip: EigRender,
    views: Sequence[View],
    nearest: Sequence[int],
    posterior: ScenePosterior,
    batches: TrainBatches,
    skip: int = 0,
) -> Float[Array, "T H W 3"] | UInt8[Array, "T K H W 4"]:
    """Make the references of a fixer: recorded images of about the same time, re-projected if the fixer needs that.

    Args:
        fixer: the fixer. With `use_separate_references` the result is that of `separate_references`, (T, K, H, W, 4).
        clip: renders of `views`.
        views: the views.
        nearest: for each view, the index of the recorded frame of about the same time.
        posterior: gives the depths of the recorded views.
        batches: recorded frames.
        skip: number of recorded images nearest in time that re-projected references leave out.
    """
    if fixer.use_separate_references:
        return separate_references(clip, views, posterior, batches, skip)
    if fixer.use_aligned_references:
        return aligned_references(clip, views, posterior, batches, skip)
    return jnp.stack([as_float(batches.batch(index).image) for index in nearest])
