"""The average of the weights over the training: it is more stable than the last weights, and is what fixers use."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Int, PyTree

from ff_jax.fixers.training.state import FixerTrainState


class WeightAverageState(NamedTuple):
    """State of an optimizer of `with_weight_average`."""

    inner: PyTree
    average: PyTree  # like the parameters
    count: Int[Array, ""]


def with_weight_average(optimizer: optax.GradientTransformation, decay: float) -> optax.GradientTransformation:
    """Extend an optimizer by an exponential moving average of the parameters, kept in its state.

    Early steps are forgotten sooner: after n steps the decay is at most (1 + n) / (10 + n).

    Args:
        optimizer: changes the parameters.
        decay: weight of the old average per step, in [0, 1).
    """

    def init(params: PyTree) -> WeightAverageState:
        return WeightAverageState(optimizer.init(params), jax.tree.map(jnp.copy, params), jnp.zeros((), jnp.int32))

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        assert params is not None and isinstance(state, WeightAverageState)
        updates, inner = optimizer.update(updates, state.inner, params)
        current_decay = jnp.minimum(decay, (1.0 + state.count) / (10.0 + state.count))
        after = optax.apply_updates(params, updates)
        average = optax.incremental_update(after, state.average, 1.0 - current_decay)
        return updates, WeightAverageState(inner, average, state.count + 1)

    return optax.GradientTransformation(init, update)


def averaged_params(state: FixerTrainState) -> PyTree:
    """Return the averaged parameters of a state whose optimizer is from `with_weight_average`."""
    return state.opt.average
