"""The posterior of a scene from its recorded views, and renders of other views with their EIG."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from ff_jax.eig.config import Priors
from ff_jax.eig.information import Precision, accumulate, init_precision
from ff_jax.eig.maps import eig_map
from ff_jax.eig.posterior import Posterior
from ff_jax.eig.posterior import posterior as make_posterior
from ff_jax.eig.residual_noise import information_weight, noise_from_residuals, noise_of_new_views
from ff_jax.render.renderer import expected_depth
from ff_jax.scene import SceneModel, View, render_scene
from ff_jax.train.batch import Batch, as_float, blank_batch
from ff_jax.train.batches import TrainBatches

_STRIDE = 7  # every n-th pixel of a residual is enough for a median


class ScenePosterior(struct.PyTreeNode):
    """The posterior of a scene given its recorded views."""

    posterior: Posterior
    noise: Float[Array, ""]  # standard deviation of one channel of a new view, errors of the scene model included
    depths: Float[Array, "F H W"]  # expected camera z at the recorded views, meters


class SceneInformation(NamedTuple):
    """The Fisher information of the recorded views; fields as in `ScenePosterior`."""

    precision: Precision
    noise: Float[Array, ""]
    depths: Float[Array, "F H W"]
    frame_noise: tuple[Float[Array, ""], ...]  # that of the camera of every recorded frame, see `noise_by_camera`


class EigRender(NamedTuple):
    """A render with its EIG map: of one view, or of T views stacked to a clip."""

    rgb: Float[Array, "*T H W 3"]
    eig: Float[Array, "*T H W"]  # nats
    depth: Float[Array, "*T H W"]  # expected camera z, meters; `SKY_DEPTH` in the sky


@jax.jit
def _residual_and_depth(model: SceneModel, batch: Batch) -> tuple[Float[Array, "..."], Float[Array, "H W"]]:
    """Render a recorded view; return a sample of its residuals and its depth."""
    view = render_scene(model, batch.view)
    residual = jnp.where(batch.weight[..., None] > 0, as_float(batch.image) - view.rgb, jnp.nan)
    return residual.reshape(-1)[::_STRIDE], expected_depth(view.depth, view.alpha)


@functools.partial(jax.jit, donate_argnums=0)
def _add_view(
    precision: Precision,
    model: SceneModel,
    batch: Batch,
    noise: Float[Array, ""],
    correlated_views: Float[Array, ""],
) -> Precision:
    """Add one recorded view to the precision, which is donated (the result takes its memory)."""
    view = render_scene(model, batch.view)
    weight = information_weight(as_float(batch.image) - view.rgb, batch.weight, noise, correlated_views)
    return accumulate(
        precision,
        model.render_input(batch.view),
        view.linear,
        noise=noise,
        alpha=view.alpha,
        weight=batch.weight * weight,
    )


def view_precision(
    model: SceneModel, view: View, noise: Float[Array, ""], image_dtype: DTypeLike = jnp.uint8
) -> Precision:
    """Compute the Fisher information of one view alone, whose image is not needed.

    Takes the program that adds recorded views, which a run has compiled: where no views are correlated, residuals
    reduce no weight.

    Args:
        model: the scene.
        view: the view.
        noise: standard deviation of one channel.
        image_dtype: of the recorded images.
    """
    nothing = init_precision(model.scene.params.gaussians)
    return _add_view(nothing, model, blank_batch(model.prepare(view), image_dtype), noise, jnp.float32(0))


def scene_information(model: SceneModel, batches: TrainBatches, misfit: float) -> SceneInformation:
    """Accumulate the Fisher information of the recorded views; pseudo-views are never observations.

    Each camera has its own noise. The error of the scene model counts once over all views (`residual_noise`).

    Args:
        model: the scene.
        batches: recorded frames.
        misfit: see `Priors`.
    """
    indices = range(len(batches))
    residuals, depths = zip(*(_residual_and_depth(model, batches.batch(i)) for i in indices), strict=True)
    cameras = [frame.camera for frame in batches.recording.frames]
    noise = noise_by_camera(residuals, cameras)
    precision = init_precision(model.scene.params.gaussians)
    correlated_views = jnp.float32(min(misfit, len(batches)))
    frame_noise = tuple(noise[camera] for camera in cameras)
    for index in indices:
        precision = _add_view(precision, model, batches.batch(index), frame_noise[index], correlated_views)
    return SceneInformation(precision, noise_of_new_views(jnp.stack(residuals)), jnp.stack(depths), frame_noise)


def noise_by_camera(residuals: Sequence[Float[Array, "S"]], cameras: Sequence[str]) -> dict[str, Float[Array, ""]]:
    """Estimate the noise of every camera from the residuals of its frames.

    Args:
        residuals: of every frame: image - render.
        cameras: the camera of every frame.
    """
    frames = {name: [r for r, camera in zip(residuals, cameras, strict=True) if camera == name] for name in cameras}
    return {name: noise_from_residuals(jnp.stack(rows)) for name, rows in frames.items()}


def fit_posterior(model: SceneModel, batches: TrainBatches, priors: Priors) -> ScenePosterior:
    """Compute the posterior of a scene given its recorded views."""
    precision, noise, depths, _ = scene_information(model, batches, priors.misfit)
    return ScenePosterior(posterior_of(precision, model, priors), noise, depths)


@functools.partial(jax.jit, static_argnames=("priors",))
def posterior_of(precision: Precision, model: SceneModel, priors: Priors) -> Posterior:
    """Combine the prior with the information of a scene (compiled)."""
    return make_posterior(precision, priors, model.scene.params.gaussians)


def render_with_eig(model: SceneModel, posterior: ScenePosterior, view: View, mode: str = "exact") -> EigRender:
    """Render one view of a scene with its EIG map and depth; `mode` as in `eig_map`."""
    return _render_with_eig(model, posterior.posterior, posterior.noise, model.prepare(view), mode)


@functools.partial(jax.jit, static_argnames=("mode",))
def _render_with_eig(
    model: SceneModel, posterior: Posterior, noise: Float[Array, ""], view: View, mode: str
) -> EigRender:
    out = render_scene(model, view)
    eig = eig_map(posterior, model.render_input(view), out.linear, out.alpha, noise=noise, mode=mode)
    return EigRender(out.rgb, eig, expected_depth(out.depth, out.alpha))
