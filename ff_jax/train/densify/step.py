"""Density control as a pure step of training, separately for the background and the actors."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Key

from ff_jax.render.gaussians import Gaussians
from ff_jax.scene import Scene
from ff_jax.train.config import ReconConfig
from ff_jax.train.densify.mcmc import DensityConfig, Relocated, relocate
from ff_jax.train.densify.split_prune import NodeRules, clone_split_prune, is_reset, lower_opacities
from ff_jax.train.optimizer import ScheduleScale, reset_moments
from ff_jax.train.state import TrainState

_RELOCATE = 1  # random stream of a step


def make_density_step(config: ReconConfig) -> Callable[[TrainState, ScheduleScale], TrainState]:
    """Make the jitted `density_step(state, scale) -> state`: add and prune Gaussians, reset their optimizer moments.

    Args:
        config: the rule and its settings; sizes of Gaussians are relative to the radius of `scale`.
    """

    def density_step(state: TrainState, scale: ScheduleScale) -> TrainState:
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), _RELOCATE)
        scene, stats, rules = state.scene, state.grad_stats, None
        if stats is not None:
            rules = node_rules(scene, scale.radius, config)

        def rule(key: Key[Array, ""], gaussians: Gaussians, alive: Bool[Array, "n"], rows: slice) -> Relocated:
            if rules is None:
                is_actor = rows.start >= scene.num_static
                budget = rows.stop - rows.start if is_actor else config.budget - scene.num_ground
                return relocate(key, gaussians, alive, config.density, budget)
            own, node = jax.tree.map(lambda x: x[rows], stats), scene.node[rows]
            return clone_split_prune(key, gaussians, alive, node, own, rules, config.split, config.density.min_opacity)

        gaussians, alive, changed, source = _by_part(key, scene, rule)
        opt, node = reset_moments(state.opt, changed), scene.node[source]
        if rules is not None:
            now = is_reset(state.step, config.density.every, config.split)
            gaussians = lower_opacities(gaussians, jnp.where(now, rules.reset_to[node], 1.0))
            opt = reset_moments(opt, jnp.broadcast_to(now, alive.shape), ("logit_opacities",))
            stats = jax.tree.map(jnp.zeros_like, stats)
        scene = scene.replace(params=scene.params.replace(gaussians=gaussians), alive=alive, node=node)
        return state.replace(scene=scene, opt=opt, grad_stats=stats)

    return jax.jit(density_step, donate_argnums=0)


def node_rules(scene: Scene, radius: Float[Array, ""] | float, config: ReconConfig) -> NodeRules:
    """Make the limits of clone, split and prune for the background and every actor.

    Actors share their slots evenly; unused slots of one actor are not given to another.
    """
    split, tracks = config.split, scene.tracks
    if tracks is None:
        row = radius, split.prune_above, split.reset_to, config.budget - scene.num_ground
        return NodeRules(*(jnp.array([value]) for value in row))
    actors = len(tracks.soft)
    actor_rows = (
        0.5 * tracks.sizes.max(-1),
        jnp.full(actors, split.prune_above_actor),
        jnp.where(tracks.soft, split.reset_to_soft, split.reset_to),
        jnp.full(actors, tracks.slots // actors),
    )
    background = radius, split.prune_above, split.reset_to, config.budget - scene.num_ground
    return NodeRules(
        *(jnp.append(jnp.array([one], more.dtype), more) for one, more in zip(background, actor_rows, strict=True))
    )


def _by_part(key: Key[Array, ""], scene: Scene, rule: Callable[..., Relocated]) -> Relocated:
    """Run density control separately on the background and on the actors, so that neither takes slots of the other.

    `rule` takes a key, the Gaussians and alive flags of some slots, and the slice of these slots. The ground stays.
    """
    ground, first, count = scene.num_ground, scene.num_static, scene.alive.shape[0]
    results = [_unchanged(scene, ground)] if ground else []
    for number, rows in enumerate((slice(ground, first), slice(first, count))):
        if rows.stop > rows.start:
            own = jax.tree.map(lambda x, rows=rows: x[rows], scene.params.gaussians)
            part = rule(jax.random.fold_in(key, number) if number else key, own, scene.alive[rows], rows)
            results.append(part._replace(source=part.source + rows.start))
    return jax.tree.map(lambda *x: jnp.concatenate(x), *results) if len(results) > 1 else results[0]


def _unchanged(scene: Scene, count: int) -> Relocated:
    """Return the first `count` slots as they are."""
    gaussians = jax.tree.map(lambda x: x[:count], scene.params.gaussians)
    return Relocated(gaussians, scene.alive[:count], jnp.zeros(count, bool), jnp.arange(count))


def is_density_step(step: int, config: DensityConfig) -> bool:
    """Check whether density control runs just before `step`."""
    return config.start < step < config.stop and step % config.every == 0
