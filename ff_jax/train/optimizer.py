"""Optimizer groups, learning-rate schedules and moments."""

import dataclasses
from collections.abc import Callable, Hashable

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array
from jaxtyping import ArrayLike, Bool, Float, Int, PyTree

from ff_jax.render.gaussians import Gaussians
from ff_jax.runtime.settings import Settings, bounded
from ff_jax.scene import SceneParams
from ff_jax.scene.actors import ActorParams
from ff_jax.scene.camera_path import ROTATION_ARM

PER_SLOT = tuple(field.name for field in dataclasses.fields(Gaussians))  # groups with one row per Gaussian

Schedule = Callable[[ArrayLike], Float[Array, ""]]  # a function of the step


@dataclasses.dataclass(frozen=True)
class OptimConfig(Settings):
    """Learning rates per parameter group (Adam, eps 1e-15); a rate of 0 freezes the group exactly.

    Attributes:
        means: rate of positions, in units of the scene radius; decays exponentially to `means_final`.
        means_final: rate of positions at the last step (see `ScheduleScale`), in units of the scene radius.
        quats, log_scales, logit_opacities: rates of the other geometry.
        sh_dc, sh_rest: rates of color.
        sky, exposure, intrinsics: rates of the groups outside the Gaussians.
        poses: rate of camera corrections (radians; `ROTATION_ARM` meters count as one); decays like `means`.
        actor_turns, actor_moves: rates of the corrections of actors' paths (radians, meters); decaying.
        actor_soft: rate of the deformation network of actors; decaying.
        novel: rate of the deformation network of cameras off the recorded path; decaying.
    """

    means: float = bounded(1.6e-4, 0.0, 10.0)
    means_final: float = bounded(1.6e-6, 0.0, 10.0)
    quats: float = bounded(1e-3, 0.0, 10.0)
    log_scales: float = bounded(5e-3, 0.0, 10.0)
    logit_opacities: float = bounded(5e-2, 0.0, 10.0)
    sh_dc: float = bounded(2.5e-3, 0.0, 10.0)
    sh_rest: float = bounded(1.25e-4, 0.0, 10.0)
    sky: float = bounded(1e-2, 0.0, 10.0)
    exposure: float = bounded(1e-3, 0.0, 10.0)
    poses: float = bounded(0.0, 0.0, 10.0)
    intrinsics: float = bounded(0.0, 0.0, 10.0)
    actor_turns: float = bounded(1e-4, 0.0, 10.0)
    actor_moves: float = bounded(2e-3, 0.0, 10.0)
    actor_soft: float = bounded(1e-3, 0.0, 10.0)
    novel: float = bounded(1e-3, 0.0, 10.0)


class ScheduleScale(struct.PyTreeNode):
    """The scales of the learning-rate schedules. They are arguments of compiled programs, which all runs share."""

    radius: Float[Array, ""] | float  # extent of the camera path, meters
    steps: Int[Array, ""] | int  # length of the decay


def exponential_decay(config: OptimConfig, scale: ScheduleScale) -> Schedule:
    """Make the factor of the decaying learning rates as a function of the step, from 1 to means_final / means."""
    last = config.means_final / config.means if config.means > 0 else 1.0
    return lambda step: jnp.float32(last) ** (step / jnp.maximum(scale.steps, 1))


def means_rate(config: OptimConfig, scale: ScheduleScale) -> Schedule:
    """Make the learning rate of positions (meters per step) as a function of the step."""
    decay = exponential_decay(config, scale)
    return lambda step: config.means * scale.radius * decay(step)


def to_groups(params: SceneParams) -> dict[str, PyTree]:
    """Split the parameters into optimizer groups."""
    gaussians = {field.name: getattr(params.gaussians, field.name) for field in dataclasses.fields(Gaussians)}
    rest = {name: getattr(params, name) for name in ("sky", "exposure", "poses", "intrinsics")}
    if params.actors is not None:
        rest |= {"actor_turns": params.actors.turns, "actor_moves": params.actors.moves}
        rest |= {} if params.actors.soft is None else {"actor_soft": params.actors.soft}
    rest |= {} if params.novel is None else {"novel": params.novel}
    return gaussians | rest


def from_groups(groups: dict[str, PyTree]) -> SceneParams:
    """Invert `to_groups`."""
    groups = dict(groups)
    gaussians = Gaussians(**{name: groups.pop(name) for name in PER_SLOT})
    actors = None
    if "actor_turns" in groups:
        actors = ActorParams(groups.pop("actor_turns"), groups.pop("actor_moves"), groups.pop("actor_soft", None))
    return SceneParams(gaussians=gaussians, actors=actors, **groups)


def _sh_adam(config: OptimConfig) -> optax.GradientTransformation:
    """Make Adam with a lower rate for the view-dependent bands than for the constant one."""

    def apply_rates(updates: PyTree, params: PyTree | None = None) -> PyTree:
        del params

        def scaled(x: Array) -> Array:
            rates = jnp.full((x.shape[-2], 1), config.sh_rest).at[0].set(config.sh_dc)
            return -rates * x

        return jax.tree.map(scaled, updates)

    return optax.chain(optax.scale_by_adam(eps=1e-15), optax.stateless(apply_rates))


def make_optimizer(config: OptimConfig, scale: ScheduleScale) -> optax.GradientTransformation:
    """Make the optimizer over `to_groups` parameters; the shapes of its state do not depend on `scale`."""
    decay = exponential_decay(config, scale)

    def adam(rate: float | Schedule) -> optax.GradientTransformation:
        return optax.adam(rate, eps=1e-15) if callable(rate) or rate > 0 else optax.set_to_zero()

    def decaying_adam(rate: float) -> optax.GradientTransformation:
        return adam(lambda step: rate * decay(step)) if rate > 0 else adam(0.0)

    names = ("quats", "log_scales", "logit_opacities", "sky", "exposure", "intrinsics")
    groups: dict[Hashable, optax.GradientTransformation] = {name: adam(getattr(config, name)) for name in names}
    groups["sh"] = _sh_adam(config)
    decaying = ("actor_turns", "actor_moves", "actor_soft", "novel")
    groups |= {name: decaying_adam(getattr(config, name)) for name in decaying}
    groups["means"] = adam(means_rate(config, scale) if config.means > 0 else 0.0)
    lr_scale = jnp.array([1.0, 1.0, 1.0, *[ROTATION_ARM] * 3])
    scaling = optax.stateless(lambda updates, _: jax.tree.map(lambda x: x * lr_scale, updates))
    groups["poses"] = optax.chain(decaying_adam(config.poses), scaling)
    return optax.partition(groups, lambda params: {name: name for name in params})


def reset_moments(opt: PyTree, slots: Bool[Array, "N"], names: tuple[str, ...] = PER_SLOT) -> PyTree:
    """Zero the optimizer's moments of the given Gaussian slots, in the groups of these names."""

    def clear(path: tuple, x: Array) -> Array:
        # A moment's path ends with the name of its group; step counters have other names.
        if getattr(path[-1], "key", None) not in names:
            return x
        return jnp.where(slots.reshape((-1,) + (1,) * (x.ndim - 1)), 0, x)

    return jax.tree_util.tree_map_with_path(clear, opt)
