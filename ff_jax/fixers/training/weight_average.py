"""An average of the weights over the training: steadier than the last ones, and what is used."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Int, PyTree

from ff_jax.fixers.training.state import GeneratorState


class Averaged(NamedTuple):
    """State of an optimizer of `averaged`."""

    inner: PyTree
    average: PyTree  # like the parameters
    count: Int[Array, ""]


def averaged(optimizer: optax.GradientTransformation, decay: float) -> optax.GradientTransformation:
    """Return the optimizer that also keeps an exponential moving average of the parameters in its state.

    The first steps are forgotten sooner: after n steps the decay is (1 + n) / (10 + n) at most.

    Args:
        optimizer: changes the parameters.
        decay: share of the average that a step keeps, in [0, 1).
    """

    def init(params: PyTree) -> Averaged:
        return Averaged(optimizer.init(params), jax.tree.map(jnp.copy, params), jnp.zeros((), jnp.int32))

    def update(gradient: PyTree, state: Averaged, params: PyTree) -> tuple[PyTree, Averaged]:
        updates, inner = optimizer.update(gradient, state.inner, params)
        kept = jnp.minimum(decay, (1.0 + state.count) / (10.0 + state.count))
        average = optax.incremental_update(optax.apply_updates(params, updates), state.average, 1.0 - kept)
        return updates, Averaged(inner, average, state.count + 1)

    return optax.GradientTransformation(init, update)


def average_of(state: GeneratorState) -> PyTree:
    """Return the averaged parameters of a state whose optimizer is `averaged`."""
    return state.opt.average
