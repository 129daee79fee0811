"""The optimizer, what is frozen, and gradients in parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.training.sharding import make_mesh
from ff_jax.fixers.training.state import OptimizerConfig, gradient, init_state, join, make_optimizer, split
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

MESH = make_mesh(1, 1, jax.devices()[:1])


def noisy_fit(params, frozen, batch, keys):
    """A loss that draws: each sample's line is noisy."""
    x, y = batch
    noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
    guess = jnp.tanh((x + noise) @ params["w"]) @ frozen
    return jnp.mean(jnp.square(guess - y)), {"size": jnp.mean(jnp.abs(guess))}


@pytest.mark.parametrize("parts", [2, 6])
def test_microbatches_add_up_to_the_batch(parts):
    rng = seeded_rng()
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    arguments = {"w": normal(3, 4)}, normal(4), (normal(12, 3), normal(12)), jax.random.split(jax.random.key(1), 12)
    whole, metrics = gradient(noisy_fit, *arguments, 1, MESH)
    found, means = gradient(noisy_fit, *arguments, parts, MESH)
    np.testing.assert_allclose(found["w"], whole["w"], rtol=1e-5, atol=1e-5 * np.abs(whole["w"]).max())
    assert set(means) == {"loss", "size"}
    for name, value in means.items():
        np.testing.assert_allclose(value, metrics[name], rtol=1e-5)
    plain = jax.grad(lambda params: noisy_fit(params, *arguments[1:])[0])(arguments[0])
    np.testing.assert_allclose(whole["w"], plain["w"], rtol=1e-5, atol=1e-5 * np.abs(plain["w"]).max())


def test_samples_that_do_not_split_are_named():
    with pytest.raises(ValueError, match="12 samples do not split into 5 microbatches on 1 parts"):
        batch, keys = (jnp.zeros((12, 3)), jnp.zeros(12)), jax.random.split(jax.random.key(1), 12)
        gradient(noisy_fit, {"w": jnp.zeros((3, 4))}, jnp.zeros(4), batch, keys, 5, MESH)
    with pytest.raises(ValueError, match="microbatches=0 must be at least 1"):
        gradient(noisy_fit, {"w": jnp.zeros((3, 4))}, jnp.zeros(4), batch, keys, 0, MESH)


def test_rate_and_clipping_follow_the_configuration():
    config = OptimizerConfig(steps=12, warmup=4, lr=0.1, weight_decay=0.5, clip=1.0)
    optimizer = make_optimizer(config)
    rng = seeded_rng()
    params, slope = rng.normal(size=5), rng.normal(size=5) * 100
    state = optimizer.init(jnp.asarray(params, jnp.float32))
    found, m, v = jnp.asarray(params, jnp.float32), 0.0, 0.0
    clipped = slope / np.linalg.norm(slope)
    for step in range(10):
        updates, state = optimizer.update(jnp.asarray(slope, jnp.float32), state, found)
        found = found + updates
        rate = 0.1 * (step / 4 if step < 4 else 0.5 * (1 + np.cos(np.pi * (step - 4) / 8)))
        m, v = 0.9 * m + 0.1 * clipped, 0.95 * v + 0.05 * clipped**2
        moment = m / (1 - 0.9 ** (step + 1)) / (np.sqrt(v / (1 - 0.95 ** (step + 1))) + 1e-8)
        params = params - rate * (moment + 0.5 * params)
        np.testing.assert_allclose(found, params, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="warmup=3 must be less than steps=3"):
        OptimizerConfig(steps=3, warmup=3)


def test_the_first_state_is_float32_and_owns_its_memory():
    params, key = {"w": jnp.ones(3, jnp.bfloat16), "b": jnp.ones(3)}, jax.random.key(4)
    state = init_state(key, params, make_optimizer(OptimizerConfig()))
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.float32)}
    jax.jit(lambda state: jax.tree.map(lambda leaf: leaf, state), donate_argnums=0)(state)
    assert not any(leaf.is_deleted() for leaf in (*params.values(), key))


def test_a_network_is_split_by_the_names_of_its_parts():
    params = {"unet": {"a": 1, "b": {"c": 2}}, "vae": {"encoder": {"a": 3}, "decoder": {"a": 4}}}
    trained, frozen = split(params, ("unet", "vae/decoder"))
    assert trained == {"unet": params["unet"], "vae": {"decoder": {"a": 4}}}
    assert frozen == {"vae": {"encoder": {"a": 3}}}
    assert join(trained, frozen) == params
    with pytest.raises(ValueError, match=r"no parameters in vae/dec: choose among the parts unet, vae\."):
        split(params, ("unet", "vae/dec"))
