"""The two pure steps of training: follow the gradient, and control the density."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array
from jaxtyping import Bool, Float, Int, Key, PyTree, UInt8

from ff_jax import losses
from ff_jax.density import DensityConfig, Relocated, explore, relocate
from ff_jax.losses import LossConfig
from ff_jax.render import RenderSettings
from ff_jax.scene import Scene, SceneParams, render_scene
from ff_jax.scene.actors import outside, roughness
from ff_jax.scene.exposure import exposure_penalty
from ff_jax.scene.scene import View
from ff_jax.train.state import OptimConfig, TrainState, forget, grouped, make_optimizer, means_rate, ungrouped

_RELOCATE, _EXPLORE = 1, 2  # random streams of a step


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
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Return the training loss of one image and what the log shows of it."""
    view = render_scene(scene.replace(params=params), batch.view, settings, sh_degree)
    target = as_float(batch.image)
    image_loss = losses.photometric(view.rgb, target, batch.weight, config.ssim)
    sky_loss = jnp.where(batch.sky_known, losses.sky_opacity(view.alpha, batch.sky), 0.0)
    depth_loss = losses.depth_l1(view.depth, view.alpha, batch.lidar)
    total = image_loss * jnp.where(batch.novel, config.novel, 1.0)
    total += config.sky * sky_loss + config.depth * depth_loss
    total += losses.regularizers(params.gaussians, scene.alive, config)
    if config.entropy:
        total += config.entropy * losses.opacity_entropy(view.alpha)
    if scene.tracks is not None:
        total += config.dynamic * losses.region_l1(view.rgb, target, batch.weight * batch.dynamic)
        total += actor_penalty(params, scene, config)
    total += config.exposure * exposure_penalty(params.exposure, batch.view.exposure)
    squared = jnp.mean((jnp.clip(view.rgb, 0, 1) - target) ** 2)
    shown = {
        "loss": total,
        "psnr": -10 * jnp.log10(squared + 1e-10),
        "image": image_loss,
        "depth": depth_loss,
    }
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
    config: ReconConfig, settings: RenderSettings, radius: float
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]:
    """Return the jitted `train_step(state, batch) -> (state, metrics)`; the state is donated.

    Args:
        config: losses, optimizer and density settings.
        settings: renderer settings; another capacity needs another step function.
        radius: extent of the camera path in metres; scales the learning rate of positions.
    """
    optimizer = make_optimizer(config.optim, radius)
    rate = means_rate(config.optim, radius)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        scene = state.scene
        degree = jnp.minimum(state.step // config.sh_every, config.sh_degree)
        grads, shown = jax.grad(scene_loss, has_aux=True)(scene.params, scene, batch, config.loss, settings, degree)
        groups = grouped(scene.params)
        updates, opt = optimizer.update(grouped(grads), state.opt, groups)
        params = ungrouped(optax.apply_updates(groups, updates))
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), _EXPLORE)
        moved = explore(key, params.gaussians, scene.alive, rate(state.step), config.density)
        scene = scene.replace(params=params.replace(gaussians=moved))
        needed = jnp.maximum(state.needed, shown["needed"])
        return state.replace(step=state.step + 1, scene=scene, opt=opt, needed=needed), shown

    return jax.jit(train_step, donate_argnums=0)


def make_density_step(config: ReconConfig) -> Callable[[TrainState], TrainState]:
    """Return the jitted `density_step(state) -> state`: births and teleports, optimizer moments forgotten."""

    def density_step(state: TrainState) -> TrainState:
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), _RELOCATE)
        scene = state.scene
        budgets = (scene.statics, config.budget), (scene.alive.shape[0] - scene.statics,) * 2
        gaussians, alive, changed, source = _by_part(key, scene, config.density, budgets)
        scene = scene.replace(params=scene.params.replace(gaussians=gaussians), alive=alive, node=scene.node[source])
        return state.replace(scene=scene, opt=forget(state.opt, changed))

    return jax.jit(density_step, donate_argnums=0)


def _by_part(
    key: Key[Array, ""], scene: Scene, config: DensityConfig, budgets: tuple[tuple[int, int], tuple[int, int]]
) -> Relocated:
    """Run density control on the background and on the actors apart: neither starves the other.

    `budgets` are, for either, the number of slots and of how many may be alive.
    """
    start, done = 0, []
    for number, (slots, budget) in enumerate(budgets):
        if slots:
            rows = slice(start, start + slots)
            own = jax.tree.map(lambda x, rows=rows: x[rows], scene.params.gaussians)
            part = relocate(jax.random.fold_in(key, number) if number else key, own, scene.alive[rows], config, budget)
            done.append(part._replace(source=part.source + start))
        start += slots
    return jax.tree.map(lambda *x: jnp.concatenate(x), *done) if len(done) > 1 else done[0]


def is_density_step(step: int, config: DensityConfig) -> bool:
    """Return whether density control runs just before `step`."""
    return config.start < step < config.stop and step % config.every == 0


def tree_bytes(tree: PyTree) -> int:
    """Return the size of all arrays of a pytree in bytes."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree) if hasattr(x, "size"))
