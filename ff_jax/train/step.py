"""The pure step of training that follows the gradient."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array
from jaxtyping import Bool, Float, Int, PyTree, UInt8

from ff_jax.render.multi_device import keep_split
from ff_jax.render.renderer import RenderSettings
from ff_jax.scene import Scene, SceneParams, render_scene
from ff_jax.scene.actors import outside, roughness
from ff_jax.scene.camera_path import camera_roughness
from ff_jax.scene.exposure import exposure_penalty
from ff_jax.scene.scene import View
from ff_jax.train import losses
from ff_jax.train.densify.mcmc import DensityConfig, explore
from ff_jax.train.densify.split_prune import SplitConfig, add_pull
from ff_jax.train.losses import LossConfig
from ff_jax.train.state import OptimConfig, Pace, TrainState, grouped, make_optimizer, means_rate, ungrouped

EXPLORE = 2  # random stream of a step; 1 is that of density control


@struct.dataclass
class Batch:
    """One image to train on, recorded or repaired."""

    image: UInt8[Array, "H W 3"] | Float[Array, "H W 3"]  # recorded bytes, or repaired colours in [0, 1]
    weight: Float[Array, "H W"]  # how far each pixel is believed
    view: View
    sky: Bool[Array, "H W"]
    sky_known: Bool[Array, ""]
    lidar: Float[Array, "H W"]  # camera z of LiDAR returns, metres; 0 where there is none
    novel: Bool[Array, ""]  # a repaired view off the recorded path
    dynamic: Bool[Array, "H W"]  # where actors are


@dataclasses.dataclass(frozen=True)
class ReconConfig:
    """How a scene is reconstructed (static; hashable).

    Attributes:
        sh_every: steps between two colour bands.
        sh_degree: highest colour band.
        budget: largest number of alive Gaussians.
    """

    sh_every: int = 1000
    sh_degree: int = 3
    budget: int = 500_000
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    density: DensityConfig = DensityConfig()
    split: SplitConfig = SplitConfig()


def as_float(image: UInt8[Array, "H W 3"] | Float[Array, "H W 3"]) -> Float[Array, "H W 3"]:
    """Return colours in [0, 1] from bytes or colours."""
    return image / 255.0 if image.dtype == jnp.uint8 else image.astype(jnp.float32)


def scene_loss(
    params: SceneParams,
    scene: Scene,
    batch: Batch,
    config: LossConfig,
    settings: RenderSettings,
    sh_degree: Int[Array, ""],
    nudge: Float[Array, "N 2"] | None = None,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Return the training loss of one image and what the log shows of it; `nudge` as in `render`."""
    view = render_scene(scene.replace(params=params), batch.view, settings, sh_degree, nudge)
    target = as_float(batch.image)
    image_loss = losses.photometric(view.rgb, target, batch.weight, config.ssim)
    sky_loss = jnp.where(batch.sky_known, losses.sky_opacity(view.alpha, batch.sky), 0.0)
    depth_loss = losses.depth_l1(view.depth, view.alpha, batch.lidar)
    if config.coarse:
        image_loss += config.coarse * losses.coarse_l1(view.rgb, target, batch.weight)
    total = image_loss * jnp.where(batch.novel, config.novel, 1.0)
    total += config.sky * sky_loss + config.depth * depth_loss
    total += losses.regularizers(params.gaussians, scene.alive, config)
    if config.entropy:
        total += config.entropy * losses.opacity_entropy(view.alpha)
    if scene.tracks is not None:
        total += config.dynamic * losses.region_l1(view.rgb, target, batch.weight * batch.dynamic)
        total += actor_penalty(params, scene, config)
    if scene.path is not None:
        total += config.camera_path * camera_roughness(scene.path, params.poses)
    total += config.exposure * exposure_penalty(params.exposure, batch.view.exposure)
    squared = jnp.mean((jnp.clip(view.rgb, 0, 1) - target) ** 2)
    shown = {
        "loss": total,
        "psnr": -10 * jnp.log10(squared + 1e-10),
        "image": image_loss,
        "depth": depth_loss,
    }
    if settings.shards is not None:
        shown["sent"] = view.sent
    return total, shown | {"needed": view.needed}


def actor_penalty(params: SceneParams, scene: Scene, config: LossConfig) -> Float[Array, ""]:
    """Return what keeps actors' Gaussians in their boxes and the corrections of their paths smooth."""
    first = scene.statics
    own = jax.tree.map(lambda x: x[first:], params.gaussians)
    alive = scene.alive[first:]
    beyond = jnp.where(alive, outside(own, scene.node[first:] - 1, scene.tracks.sizes), 0.0)
    mean = jnp.sum(beyond) / jnp.maximum(alive.sum(), 1)
    return config.box * mean + config.path * roughness(scene.tracks, params.actors)


def make_train_step(
    config: ReconConfig, settings: RenderSettings
) -> Callable[[TrainState, Batch, Pace], tuple[TrainState, dict[str, Array]]]:
    """Return the jitted `train_step(state, batch, pace) -> (state, metrics)`; the state is donated.

    Args:
        config: losses, optimizer and density settings.
        settings: renderer settings; another capacity needs another step function.
    """

    def train_step(state: TrainState, batch: Batch, pace: Pace) -> tuple[TrainState, dict[str, Array]]:
        optimizer, rate = make_optimizer(config.optim, pace), means_rate(config.optim, pace)
        scene = state.scene
        degree = jnp.minimum(state.step // config.sh_every, config.sh_degree)
        pull, nudge = state.pull, None if state.pull is None else jnp.zeros((scene.alive.shape[0], 2))
        slope = jax.grad(scene_loss, argnums=(0, 6), has_aux=True)
        (grads, pulled), shown = slope(scene.params, scene, batch, config.loss, settings, degree, nudge)
        groups = grouped(scene.params)
        updates, opt = optimizer.update(grouped(grads), state.opt, groups)
        params = ungrouped(optax.apply_updates(groups, updates))
        if pull is None:
            key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), EXPLORE)
            moved = explore(key, params.gaussians, scene.alive, rate(state.step), config.density)
            params = params.replace(gaussians=moved)
        else:
            pull = add_pull(pull, pulled, max(batch.image.shape[:2]))
        scene = scene.replace(params=params)
        needed = jnp.maximum(state.needed, shown["needed"])
        state = state.replace(step=state.step + 1, scene=scene, opt=opt, needed=needed, pull=pull)
        return keep_split(state, scene.alive.shape[0], settings.shards), shown

    return jax.jit(train_step, donate_argnums=0)


def tree_bytes(tree: PyTree) -> int:
    """Return the size of all arrays of a pytree in bytes."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree) if hasattr(x, "size"))
