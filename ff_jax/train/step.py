"""The gradient step of training: a pure function."""

from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float, PyTree

from ff_jax.render.multi_device import keep_split
from ff_jax.render.renderer import RenderSettings
from ff_jax.scene import Scene, SceneModel, SceneParams, render_scene
from ff_jax.scene.actors import distance_outside_box, roughness
from ff_jax.scene.camera_path import camera_roughness
from ff_jax.scene.exposure import exposure_penalty
from ff_jax.train import losses
from ff_jax.train.batch import Batch, as_float
from ff_jax.train.config import ReconConfig
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


def scene_loss(
    params: SceneParams,
    model: SceneModel,
    batch: Batch,
    config: LossConfig,
    mean2d_offset: Float[Array, "N 2"] | None = None,
    pseudo_view: Batch | None = None,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Compute the training loss of one recorded image and, if there is one, of a pseudo-view; and metrics for the log.

    A pseudo-view is added to the recorded image, it does not take its place: the recorded images have the same number
    of steps with and without fusing.

    Args:
        params: replace those of `model`; the argument to differentiate by.
        model: the scene.
        batch: the recorded image.
        config: weights of the losses.
        mean2d_offset: as in `render`; the other argument to differentiate by.
        pseudo_view: a repaired view.
    """
    scene = model.scene
    model = model.replace(scene=scene.replace(params=params))
    total, metrics = view_loss(model, batch, config, mean2d_offset)
    if pseudo_view is not None:
        novel_loss, novel = view_loss(model, pseudo_view, config)
        total += novel_loss
        largest = jnp.maximum(metrics["num_intersections"], novel["num_intersections"])
        metrics |= {"novel_image": novel["image"], "novel_depth": novel["depth"], "num_intersections": largest}
    total += losses.regularizers(params.gaussians, scene.alive, config)
    if scene.tracks is not None:
        total += actor_penalty(params, scene, config)
    if scene.path is not None:
        total += config.camera_path * camera_roughness(scene.path, params.poses)
    return total, metrics | {"loss": total}


def actor_penalty(params: SceneParams, scene: Scene, config: LossConfig) -> Float[Array, ""]:
    """Penalize actors' Gaussians outside their boxes, and corrections of their paths that are not smooth."""
    assert scene.tracks is not None and params.actors is not None
    first = scene.num_static
    own = jax.tree.map(lambda x: x[first:], params.gaussians)
    alive = scene.alive[first:]
    excess = jnp.where(alive, distance_outside_box(own, scene.node[first:] - 1, scene.tracks.sizes), 0.0)
    mean = jnp.sum(excess) / jnp.maximum(alive.sum(), 1)
    return config.box * mean + config.path * roughness(scene.tracks, params.actors)


def make_train_step(
    config: ReconConfig, settings: RenderSettings
) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
    """Make the jitted `train_step(state, batch, scale, pseudo_view=None) -> (state, metrics)`; the state is donated.

    Args:
        config: losses, optimizer and density settings.
        settings: renderer settings; another capacity needs another step function.
    """

    def train_step(
        state: TrainState, batch: Batch, scale: ScheduleScale, pseudo_view: Batch | None = None
    ) -> tuple[TrainState, dict[str, Array]]:
        optimizer, rate = make_optimizer(config.optim, scale), means_rate(config.optim, scale)
        scene = state.scene
        degree = jnp.minimum(state.step // config.sh_every, config.sh_degree)
        stats = state.grad_stats
        offset = None if stats is None else jnp.zeros((scene.alive.shape[0], 2))
        gradient = jax.grad(scene_loss, argnums=(0, 4), has_aux=True)
        model = SceneModel(scene, settings, degree)
        (grads, offset_grad), metrics = gradient(scene.params, model, batch, config.loss, offset, pseudo_view)
        groups = to_groups(scene.params)
        updates, opt = optimizer.update(to_groups(grads), state.opt, groups)
        params = from_groups(cast(dict[str, PyTree], optax.apply_updates(groups, updates)))
        if stats is None:
            key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), EXPLORE)
            moved = explore(key, params.gaussians, scene.alive, rate(state.step), config.density)
            params = params.replace(gaussians=moved)
        else:
            stats = add_gradient(stats, offset_grad, max(batch.image.shape[:2]))
        scene = scene.replace(params=params)
        largest = jnp.maximum(state.num_intersections, metrics["num_intersections"])
        state = state.replace(step=state.step + 1, scene=scene, opt=opt, num_intersections=largest, grad_stats=stats)
        return keep_split(state, scene.alive.shape[0], settings.shards), metrics

    return jax.jit(train_step, donate_argnums=0)
