"""The average of the weights against a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ff_jax.fixers.training.state import init_state
from ff_jax.fixers.training.weight_average import averaged_params, with_weight_average
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow


def test_the_average_follows_the_parameters_and_leaves_the_steps_alone():
    rng = seeded_rng()
    start = {"a": rng.normal(size=(3, 2)).astype(np.float32)}
    plain, both = optax.adam(0.1), with_weight_average(optax.adam(0.1), 0.6)
    state = init_state(jax.random.key(0), start, both)
    params, alone, opt = state.params, state.params, plain.init(start)
    kept, average = state.opt, start["a"].astype(float)
    for step in range(12):
        gradient = {"a": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)}
        updates, kept = both.update(gradient, kept, params)
        params = optax.apply_updates(params, updates)
        updates, opt = plain.update(gradient, opt, alone)
        alone = optax.apply_updates(alone, updates)
        decay = min(0.6, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * np.asarray(params["a"])
    np.testing.assert_array_equal(params["a"], alone["a"])
    np.testing.assert_allclose(averaged_params(state.replace(opt=kept))["a"], average, atol=1e-5)


def test_the_average_has_memory_of_its_own():
    params = {"a": jnp.ones(3)}
    state = init_state(jax.random.key(0), params, with_weight_average(optax.sgd(0.1), 0.9))
    step = jax.jit(lambda state: state.replace(params=jax.tree.map(jnp.negative, state.params)), donate_argnums=0)
    np.testing.assert_array_equal(averaged_params(step(state))["a"], np.ones(3))
