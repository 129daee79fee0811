"""The gradient step of training: a pure function."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float, Int, PyTree, UInt8

from ff_jax.render.multi_device import Shards, keep_split
from ff_jax.render.renderer import RenderSettings
from ff_jax.runtime.compile_ahead import CompileAhead
from ff_jax.scene import Scene, SceneModel, SceneParams, freeze_ground, render_scene
from ff_jax.scene.actors import distance_outside_box, roughness
from ff_jax.scene.camera_path import camera_roughness
from ff_jax.scene.exposure import exposure_penalty
from ff_jax.train import losses
from ff_jax.train.batch import Batch, as_float
from ff_jax.train.config import ReconConfig, active_sh_degree
from ff_jax.train.densify.mcmc import explore
from ff_jax.train.densify.split_prune import add_gradient
from ff_jax.train.losses import LossConfig
from ff_jax.train.optimizer import ScheduleScale, from_groups, make_optimizer, means_rate, to_groups
from ff_jax.train.state import TrainState

EXPLORE = 2  # random stream of a step; 1 is that of density control


def view_loss(
    model: SceneModel, batch: Batch, config: LossConfig, mean2d_offset: Float[Array, "N 2"] | None = None
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Compute the terms of the training loss that belong to one image, and metrics for the log.

    Args:
        model: the scene.
        batch: the image, recorded or repaired.
        config: weights of the losses.
        mean2d_offset: as in `render`.
    """
    scene, params = model.scene, model.scene.params
    view = render_scene(model, batch.view, mean2d_offset)
    target = as_float(batch.image)
    image_loss = losses.photometric(view.rgb, target, batch.weight, config.ssim)
    sky_loss = jnp.where(batch.sky_known, losses.sky_opacity(view.alpha, batch.sky), 0.0)
    depth_loss = losses.depth_l1(view.depth, view.alpha, batch.lidar)
    depth_loss *= jnp.where(batch.novel, losses.coverage(batch.lidar), 1.0)
    if config.coarse:
        image_loss += config.coarse * losses.coarse_l1(view.rgb, target, batch.weight)
    total = image_loss * jnp.where(batch.novel, config.novel, 1.0)
    total += config.sky * sky_loss + config.depth * depth_loss
    if config.entropy:
        total += config.entropy * losses.opacity_entropy(view.alpha)
    if scene.tracks is not None:
        total += config.dynamic * losses.region_l1(view.rgb, target, batch.weight * batch.dynamic)
    total += config.exposure * exposure_penalty(params.exposure, batch.view.exposure)
    squared = jnp.mean((jnp.clip(view.rgb, 0, 1) - target) ** 2)
    metrics = {"psnr": -10 * jnp.log10(squared + 1e-10), "image": image_loss, "depth": depth_loss}
    if model.settings.shards is not None:
        metrics["num_sent"] = view.num_sent
    return total, metrics | {"num_intersections": view.num_intersections}


def scene_loss(params: SceneParams, scene: Scene, config: LossConfig) -> Float[Array, ""]:
    """Compute the terms of the training loss that belong to no image: penalties of Gaussians, actors and cameras.

    Args:
        params: replace those of `scene`; the argument to differentiate by.
        scene: the scene.
        config: weights of the losses.
    """
    scene = scene.replace(params=params)
    total = losses.regularizers(params.gaussians, scene.alive, config)
    if scene.tracks is not None:
        total += actor_penalty(params, scene, config)
    if scene.path is not None:
        total += config.camera_path * camera_roughness(scene.path, params.poses)
    return total


def actor_penalty(params: SceneParams, scene: Scene, config: LossConfig) -> Float[Array, ""]:
    """Penalize actors' Gaussians outside their boxes, and corrections of their paths that are not smooth."""
    assert scene.tracks is not None and params.actors is not None
    first = scene.num_static
    own = jax.tree.map(lambda x: x[first:], params.gaussians)
    alive = scene.alive[first:]
    excess = jnp.where(alive, distance_outside_box(own, scene.node[first:] - 1, scene.tracks.sizes), 0.0)
    mean = jnp.sum(excess) / jnp.maximum(alive.sum(), 1)
    return config.box * mean + config.path * roughness(scene.tracks, params.actors)


class ViewGradient(NamedTuple):
    """The gradient of the loss of one image."""

    params: SceneParams
    offset: Float[Array, "N 2"] | None  # by the projected means, pixels; None where density control does not use it
    metrics: dict[str, Array]


@dataclasses.dataclass(frozen=True)
class TrainStep:
    """One step of training; call it as `train_step(state, batch, scale, pseudo_view=None) -> (state, metrics)`.

    A pseudo-view is added to the recorded image, it does not take its place: the recorded images have the same number
    of steps with and without fusing. Both are differentiated by the same program, which is compiled once.

    Attributes:
        gradient: compiled `view_gradient`.
        update: compiled `update_state`; the state is donated.
    """

    gradient: Callable[..., ViewGradient]
    update: Callable[..., tuple[TrainState, dict[str, Array]]]

    def __call__(
        self, state: TrainState, batch: Batch, scale: ScheduleScale, pseudo_view: Batch | None = None
    ) -> tuple[TrainState, dict[str, Array]]:
        """Return the state after the step, and the metrics of the step."""
        gradient = functools.partial(
            self.gradient, state.scene, state.step, is_offset_used=state.grad_stats is not None
        )
        result, of_novel = gradient(_with_colors(batch)), {}
        if pseudo_view is not None:
            novel = gradient(_with_colors(pseudo_view))
            of_novel = {f"novel_{name}": novel.metrics[name] for name in ("image", "depth")}
            result = add_novel(result, novel)
        state, metrics = self.update(state, result, scale, jnp.float32(max(batch.image.shape[:2])))
        return state, metrics | of_novel

    def compile_ahead(self, ahead: CompileAhead, state: TrainState, batch: Batch, scale: ScheduleScale) -> None:
        """Begin to compile the programs of a step; `state` may be shapes (`shapes_of`)."""
        static = {"is_offset_used": state.grad_stats is not None}
        arguments = state.scene, state.step, _with_colors(batch)
        result = jax.eval_shape(self.gradient, *arguments, **static)  # traces once: `lower` finds it
        ahead.start(self.gradient, *arguments, **static)
        ahead.start(self.update, state, result, scale, jnp.float32(0))


def make_train_step(config: ReconConfig, settings: RenderSettings) -> TrainStep:
    """Make the step of a training; it differentiates one image after the other.

    Args:
        config: losses, optimizer and density settings.
        settings: renderer settings; another capacity needs another step.
    """
    gradient = functools.partial(view_gradient, config=config, settings=settings)
    return TrainStep(jax.jit(gradient, static_argnames="is_offset_used"), _jitted_update(config, settings.shards))


@functools.cache
def _jitted_update(config: ReconConfig, shards: Shards | None) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
    """Make the compiled `update_state`, which steps of all capacities share."""
    return jax.jit(functools.partial(update_state, config=config, shards=shards), donate_argnums=0)


def view_gradient(
    scene: Scene,
    step: Int[Array, ""],
    batch: Batch,
    config: ReconConfig,
    settings: RenderSettings,
    *,
    is_offset_used: bool,
) -> ViewGradient:
    """Differentiate the loss of one image.

    Args:
        scene: the scene.
        step: of the training; it determines the active color bands.
        batch: the image.
        config: losses and color bands.
        settings: renderer settings.
        is_offset_used: whether density control needs the gradient by the projected means.
    """
    degree = active_sh_degree(step, config)

    def loss(params: SceneParams, offset: Float[Array, "N 2"] | None) -> tuple[Float[Array, ""], dict[str, Array]]:
        model = SceneModel(scene.replace(params=params), settings, degree)
        total, metrics = view_loss(model, batch, config.loss, offset)
        return total, metrics | {"loss": total}

    slots = scene.alive.shape[0]
    offset = jnp.zeros((slots, 2)) if is_offset_used else None
    (grads, offset_grad), metrics = jax.grad(loss, argnums=(0, 1), has_aux=True)(scene.params, offset)
    return ViewGradient(keep_split(grads, slots, settings.shards), offset_grad, metrics)


@functools.partial(jax.jit, donate_argnums=0)
def add_novel(recorded: ViewGradient, novel: ViewGradient) -> ViewGradient:
    """Add the gradient of a pseudo-view to that of a recorded image; density control follows the recorded one."""
    metrics, other = recorded.metrics, novel.metrics
    metrics = metrics | {"loss": metrics["loss"] + other["loss"]}
    metrics |= {name: jnp.maximum(metrics[name], other[name]) for name in metrics if name.startswith("num_")}
    return ViewGradient(jax.tree.map(jnp.add, recorded.params, novel.params), recorded.offset, metrics)


def update_state(
    state: TrainState,
    gradient: ViewGradient,
    scale: ScheduleScale,
    size: Float[Array, ""],
    config: ReconConfig,
    shards: Shards | None,
) -> tuple[TrainState, dict[str, Array]]:
    """Apply a gradient, and that of the terms that belong to no image, to the state.

    Args:
        state: before the step.
        gradient: of the images of the step.
        scale: scales of the learning-rate schedules.
        size: of the larger side of the image, pixels.
        config: losses, optimizer and density settings.
        shards: devices that share the scene.
    """
    optimizer, rate = make_optimizer(config.optim, scale), means_rate(config.optim, scale)
    scene, stats, metrics = state.scene, state.grad_stats, gradient.metrics
    loss, penalties = jax.value_and_grad(scene_loss)(scene.params, scene, config.loss)
    groups, grads = to_groups(scene.params), jax.tree.map(jnp.add, gradient.params, penalties)
    updates, opt = optimizer.update(to_groups(grads), state.opt, groups)
    params = from_groups(cast(dict[str, PyTree], optax.apply_updates(groups, updates)))
    if stats is None:
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), EXPLORE)
        moved = explore(key, params.gaussians, scene.alive, rate(state.step), config.density)
        params = params.replace(gaussians=moved)
    else:
        stats = add_gradient(stats, cast(Array, gradient.offset), size)
    largest = jnp.maximum(state.num_intersections, metrics["num_intersections"])
    state = state.replace(
        step=state.step + 1,
        scene=scene.replace(params=freeze_ground(scene, params)),
        opt=opt,
        num_intersections=largest,
        grad_stats=stats,
    )
    state = keep_split(state, scene.alive.shape[0], shards)
    return state, metrics | {"loss": metrics["loss"] + loss}


@jax.jit
def _as_colors(image: UInt8[Array, "H W 3"]) -> Float[Array, "H W 3"]:
    return as_float(image)


def _with_colors(batch: Batch) -> Batch:
    """Convert the bytes of a recorded image to colors, so that all images share one program."""
    return batch.replace(image=_as_colors(batch.image)) if batch.image.dtype == jnp.uint8 else batch
