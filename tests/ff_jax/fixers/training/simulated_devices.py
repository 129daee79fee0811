"""A program for eight devices: `devices_test` starts it, as their number is fixed when JAX starts."""

import sys

import jax
import numpy as np

from ff_jax.fixers.training.loop import make_step, resume
from ff_jax.fixers.training.sharding import make_mesh, shard, shard_batch
from ff_jax.fixers.training.state import OptimizerConfig, init_state, make_optimizer
from ff_jax.runtime import checkpoint
from tests.ff_jax.fixers.training import tiny

OPTIMIZER = make_optimizer(OptimizerConfig(steps=10, warmup=2, lr=1e-3))
STEPS = 5


def counting(traced):
    """Return the loss; it notes when it is traced."""

    def loss(*arguments):
        traced.append(True)
        return tiny.LOSS(*arguments)

    return loss


def train(backbone, branch, batch, data, model):
    """Return the losses of a few steps on a mesh, and the state after them."""
    mesh = make_mesh(data, model, jax.devices()[: data * model])
    traced = []
    step = make_step(counting(traced), OPTIMIZER, mesh)
    state, frozen = shard(init_state(jax.random.key(3), branch, OPTIMIZER), mesh), shard(backbone, mesh)
    check_places(state, frozen, model)
    losses = []
    for _ in range(STEPS):
        state, metrics = step(state, frozen, shard_batch(batch, mesh))
        losses.append(float(metrics["loss"]))
        first = len(traced) if len(losses) == 1 else first
    assert len(traced) == first  # nothing was compiled twice
    check_places(state, frozen, model)
    jax.tree.map(np.testing.assert_array_equal, frozen, backbone)
    return np.array(losses), state


def check_places(state, frozen, model):
    """Check which part of the parameters and of the optimizer's moments each device really holds."""
    width = tiny.CONFIG.width
    adam = next(part for part in state.opt[1] if hasattr(part, "mu"))
    for tree in (state.params["blocks"], adam.mu["blocks"], adam.nu["blocks"], frozen["blocks"]["block"]):
        depth = len(tree["ff_out"]["bias"])
        held = lambda layer: {part.data.shape for part in layer.addressable_shards}
        assert held(tree["attn1"]["to_q"]["kernel"]) == {(depth, width, width // model)}
        assert held(tree["attn1"]["to_out"]["kernel"]) == {(depth, width // model, width)}
        assert held(tree["ff_in"]["kernel"]) == {(depth, width, 4 * width // model)}
        assert held(tree["ff_out"]["kernel"]) == {(depth, 4 * width // model, width)}
        assert held(tree["ff_out"]["bias"]) == {(depth, width)}


def check_move(state, branch, directory):
    """Save a state that eight devices hold, go on with one: all arrays arrive."""
    checkpoint.save(directory, STEPS, state, {})
    one = make_mesh(1, 1, jax.devices()[:1])
    moved = resume(directory, init_state(jax.random.key(0), branch, OPTIMIZER), one)
    data = lambda leaf: jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
    for found, wanted in zip(jax.tree.leaves(moved), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(data(found), data(wanted))
        assert found.devices() == {jax.devices()[0]}
    assert int(moved.step) == STEPS


def main(seed, directory):
    jax.config.update("jax_disable_most_optimizations", True)
    rng = np.random.default_rng(seed)
    (backbone, branch), batch = tiny.networks(rng), tiny.clips(rng, 8)
    wanted, _ = train(backbone, branch, batch, 1, 1)
    for data, model in ((8, 1), (4, 2), (2, 4)):
        losses, state = train(backbone, branch, batch, data, model)
        print(f"{data} x {model}: {np.abs(losses / wanted - 1).max():.1e}")
        np.testing.assert_allclose(losses, wanted, rtol=1e-5)
    check_move(state, branch, directory)
    print("devices ok")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
