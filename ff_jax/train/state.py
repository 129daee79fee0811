"""Training state: one pytree that a checkpoint holds whole."""

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array
from jaxtyping import Int, Key, PyTree

from ff_jax.scene import Scene
from ff_jax.train.densify.split_prune import Mean2dGradStats, init_grad_stats
from ff_jax.train.optimizer import to_groups
from ff_jax.train.pseudo_views import PseudoViews


class TrainState(struct.PyTreeNode):
    """All arrays that training changes."""

    step: Int[Array, ""]
    scene: Scene
    opt: PyTree  # optax state over `scene.params`
    key: Key[Array, ""]  # root key; every draw folds the step in, so a resumed run draws the same numbers
    num_intersections: Int[Array, ""]  # largest number of tile intersections since the last check of the capacity
    grad_stats: Mean2dGradStats | None = None  # input of "split" density control; None with "mcmc"


def init_state(
    key: Key[Array, ""], scene: Scene, optimizer: optax.GradientTransformation, method: str = "mcmc"
) -> TrainState:
    """Make the state at step 0 for a method of density control."""
    grad_stats = init_grad_stats(scene.alive.shape[0]) if method == "split" else None
    opt = jax.jit(optimizer.init)(to_groups(scene.params))
    return TrainState(jnp.int32(0), scene, opt, key, jnp.int32(0), grad_stats)


class LoopState(struct.PyTreeNode):
    """The content of a checkpoint: the training state and the pseudo-views."""

    train: TrainState
    pseudo_views: PseudoViews
