"""Training state and its optimizer: one pytree that a checkpoint holds whole."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array
from jaxtyping import Bool, Float, Int, Key, PyTree

from ff_jax.render.gaussians import Gaussians
from ff_jax.scene import Scene, SceneParams
from ff_jax.scene.actors import ActorParams
from ff_jax.scene.camera_path import LEVER
from ff_jax.train.densify.split_prune import Pull, no_pull

PER_SLOT = tuple(field.name for field in dataclasses.fields(Gaussians))  # groups with one row per Gaussian


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """Learning rates per parameter group (Adam, eps 1e-15); a rate of 0 freezes the group exactly.

    Attributes:
        means: rate of positions, in units of the scene radius; decays exponentially to `means_final`.
        means_final: rate of positions at the last step (see `Pace`), in units of the scene radius.
        quats, log_scales, logit_opacities: rates of the other geometry.
        sh_dc, sh_rest: rates of colour.
        sky, exposure, intrinsics: rates of the groups outside the Gaussians.
        poses: rate of camera corrections (radians; `LEVER` metres count as one); decays as the positions' rate.
        actor_turns, actor_moves: rates of the corrections of actors' paths (radians, metres); they decay as the
            positions' rate does, and so does
        actor_soft: rate of what deforms actors.
    """

    means: float = 1.6e-4
    means_final: float = 1.6e-6
    quats: float = 1e-3
    log_scales: float = 5e-3
    logit_opacities: float = 5e-2
    sh_dc: float = 2.5e-3
    sh_rest: float = 1.25e-4
    sky: float = 1e-2
    exposure: float = 1e-3
    poses: float = 0.0
    intrinsics: float = 0.0
    actor_turns: float = 1e-4
    actor_moves: float = 2e-3
    actor_soft: float = 1e-3


@struct.dataclass
class Pace:
    """How far and how long a run learns: arguments of its programs, which runs of any extent and length share."""

    radius: Float[Array, ""] | float  # extent of the camera path, metres
    steps: Int[Array, ""] | int  # over which falling rates fall


@struct.dataclass
class TrainState:
    """Everything that training changes."""

    step: Int[Array, ""]
    scene: Scene
    opt: PyTree  # optax state over `scene.params`
    key: Key[Array, ""]  # root key: every draw folds the step in, so a resumed run repeats it
    needed: Int[Array, ""]  # largest number of tile intersections since it was last read
    pull: Pull | None = None  # what "split" density control goes by; None with "mcmc"


def falling(config: OptimConfig, pace: Pace) -> optax.Schedule:
    """Return the share of their first value that falling rates have at a step: that of the positions."""
    last = config.means_final / config.means if config.means > 0 else 1.0
    return lambda step: jnp.float32(last) ** (step / jnp.maximum(pace.steps, 1))


def means_rate(config: OptimConfig, pace: Pace) -> optax.Schedule:
    """Return the learning rate of positions (metres per step) as a function of the step."""
    share = falling(config, pace)
    return lambda step: config.means * pace.radius * share(step)


def grouped(params: SceneParams) -> dict[str, PyTree]:
    """Return the parameters by optimizer group."""
    gaussians = {field.name: getattr(params.gaussians, field.name) for field in dataclasses.fields(Gaussians)}
    rest = {name: getattr(params, name) for name in ("sky", "exposure", "poses", "intrinsics")}
    if params.actors is not None:
        rest |= {"actor_turns": params.actors.turns, "actor_moves": params.actors.moves}
        rest |= {} if params.actors.soft is None else {"actor_soft": params.actors.soft}
    return gaussians | rest


def ungrouped(groups: dict[str, PyTree]) -> SceneParams:
    """Undo `grouped`."""
    groups = dict(groups)
    gaussians = Gaussians(**{name: groups.pop(name) for name in PER_SLOT})
    actors = None
    if "actor_turns" in groups:
        actors = ActorParams(groups.pop("actor_turns"), groups.pop("actor_moves"), groups.pop("actor_soft", None))
    return SceneParams(gaussians=gaussians, actors=actors, **groups)


def _sh_adam(config: OptimConfig) -> optax.GradientTransformation:
    """Return Adam with a lower rate for the view-dependent bands than for the constant one."""

    def scale(updates: PyTree, params: PyTree | None = None) -> PyTree:
        del params
        rate = lambda x: jnp.full((x.shape[-2], 1), config.sh_rest).at[0].set(config.sh_dc)
        return jax.tree.map(lambda x: -rate(x) * x, updates)

    return optax.chain(optax.scale_by_adam(eps=1e-15), optax.stateless(scale))


def make_optimizer(config: OptimConfig, pace: Pace) -> optax.GradientTransformation:
    """Return the optimizer over `grouped` parameters; what it keeps does not depend on `pace`."""
    share = falling(config, pace)

    def adam(rate: float | optax.Schedule) -> optax.GradientTransformation:
        return optax.adam(rate, eps=1e-15) if callable(rate) or rate > 0 else optax.set_to_zero()

    def slowing(rate: float) -> optax.GradientTransformation:
        return adam(lambda step: rate * share(step)) if rate > 0 else adam(0.0)

    names = ("quats", "log_scales", "logit_opacities", "sky", "exposure", "intrinsics")
    groups = {name: adam(getattr(config, name)) for name in names} | {"sh": _sh_adam(config)}
    groups |= {name: slowing(getattr(config, name)) for name in ("actor_turns", "actor_moves", "actor_soft")}
    groups["means"] = adam(means_rate(config, pace) if config.means > 0 else 0.0)
    lever = jnp.array([1.0, 1.0, 1.0, *[LEVER] * 3])
    levers = optax.stateless(lambda updates, _: jax.tree.map(lambda x: x * lever, updates))
    groups["poses"] = optax.chain(slowing(config.poses), levers)
    return optax.partition(groups, lambda params: {name: name for name in params})


def init_state(
    key: Key[Array, ""], scene: Scene, optimizer: optax.GradientTransformation, method: str = "mcmc"
) -> TrainState:
    """Return the state at step 0 for a method of density control."""
    pull = no_pull(scene.alive.shape[0]) if method == "split" else None
    opt = jax.jit(optimizer.init)(grouped(scene.params))
    return TrainState(jnp.int32(0), scene, opt, key, jnp.int32(0), pull)


def forget(opt: PyTree, slots: Bool[Array, "N"], names: tuple[str, ...] = PER_SLOT) -> PyTree:
    """Zero the optimizer's moments of the given Gaussian slots, in the groups of these names."""

    def clear(path: tuple, x: Array) -> Array:
        # A moment's path ends with the name of its group; step counters have other names.
        if getattr(path[-1], "key", None) not in names:
            return x
        return jnp.where(slots.reshape((-1,) + (1,) * (x.ndim - 1)), 0, x)

    return jax.tree_util.tree_map_with_path(clear, opt)
