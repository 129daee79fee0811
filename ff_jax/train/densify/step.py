"""The pure step of training that controls the density: births and deaths of Gaussians, node by node."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from ff_jax.scene import Scene
from ff_jax.train.densify.mcmc import DensityConfig, Relocated, relocate
from ff_jax.train.densify.split_prune import Rules, control, is_reset, lowered
from ff_jax.train.state import Pace, TrainState, forget
from ff_jax.train.step import ReconConfig

_RELOCATE = 1  # random stream of a step


def make_density_step(config: ReconConfig) -> Callable[[TrainState, Pace], TrainState]:
    """Return the jitted `density_step(state, pace) -> state`: births and deaths, optimizer moments forgotten.

    Args:
        config: which rule, and its settings; the sizes of Gaussians are compared with the radius of `pace`.
    """

    def density_step(state: TrainState, pace: Pace) -> TrainState:
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), _RELOCATE)
        scene, pull, rules = state.scene, state.pull, None
        if pull is None:
            actors = scene.alive.shape[0] - scene.statics
            rule = lambda key, gaussians, alive, rows: relocate(
                key, gaussians, alive, config.density, actors if rows.start else config.budget
            )
        else:
            rules = node_rules(scene, pace.radius, config)
            rule = lambda key, gaussians, alive, rows: control(
                key,
                gaussians,
                alive,
                scene.node[rows],
                jax.tree.map(lambda x: x[rows], pull),
                rules,
                config.split,
                config.density.min_opacity,
            )
        gaussians, alive, changed, source = _by_part(key, scene, rule)
        opt, node = forget(state.opt, changed), scene.node[source]
        if rules is not None:
            now = is_reset(state.step, config.density.every, config.split)
            gaussians = lowered(gaussians, jnp.where(now, rules.reset_to[node], 1.0))
            opt = forget(opt, jnp.broadcast_to(now, alive.shape), ("logit_opacities",))
            pull = jax.tree.map(jnp.zeros_like, pull)
        scene = scene.replace(params=scene.params.replace(gaussians=gaussians), alive=alive, node=node)
        return state.replace(scene=scene, opt=opt, pull=pull)

    return jax.jit(density_step, donate_argnums=0)


def node_rules(scene: Scene, radius: Float[Array, ""] | float, config: ReconConfig) -> Rules:
    """Return what clone, split and prune keep to in the background and in every actor.

    Actors share their slots evenly: what one does not use is not given to another.
    """
    split, tracks = config.split, scene.tracks
    if tracks is None:
        row = radius, split.prune_above, split.reset_to, config.budget
        return Rules(*(jnp.array([value]) for value in row))
    actors = len(tracks.soft)
    of_actors = (
        0.5 * tracks.sizes.max(-1),
        jnp.full(actors, split.prune_above_actor),
        jnp.where(tracks.soft, split.reset_to_soft, split.reset_to),
        jnp.full(actors, tracks.slots // actors),
    )
    background = radius, split.prune_above, split.reset_to, config.budget
    return Rules(
        *(jnp.append(jnp.array([one], more.dtype), more) for one, more in zip(background, of_actors, strict=True))
    )


def _by_part(key: Key[Array, ""], scene: Scene, rule: Callable[..., Relocated]) -> Relocated:
    """Run density control on the background and on the actors apart: neither starves the other.

    `rule` takes a key, the Gaussians and the alive flags of some slots, and which slots these are.
    """
    done = []
    for number, rows in enumerate((slice(0, scene.statics), slice(scene.statics, scene.alive.shape[0]))):
        if rows.stop > rows.start:
            own = jax.tree.map(lambda x, rows=rows: x[rows], scene.params.gaussians)
            part = rule(jax.random.fold_in(key, number) if number else key, own, scene.alive[rows], rows)
            done.append(part._replace(source=part.source + rows.start))
    return jax.tree.map(lambda *x: jnp.concatenate(x), *done) if len(done) > 1 else done[0]


def is_density_step(step: int, config: DensityConfig) -> bool:
    """Return whether density control runs just before `step`."""
    return config.start < step < config.stop and step % config.every == 0
