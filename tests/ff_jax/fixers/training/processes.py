"""A program for several processes with two devices each: `processes_test` starts them."""

import jax
import numpy as np
from absl import flags
from jax.experimental import multihost_utils

from experiments.cli import command_line
from ff_jax.fixers.training.loop import LoopConfig, make_step, run
from ff_jax.fixers.training.sharding import make_mesh, shard
from ff_jax.fixers.training.state import init_state
from tests.ff_jax.fixers.training import tiny
from tests.ff_jax.fixers.training.simulated_devices import OPTIMIZER

CONNECT = command_line.process_flags()
SEED = flags.DEFINE_integer("seed", 0, "Of networks and clips.")
OUT = flags.DEFINE_string("out", None, "Folder.", required=True)
STEPS = 2


def start(seed):
    """Return the parameters and the batch of every step; the same in every process."""
    rng = np.random.default_rng(seed)
    networks = tiny.networks(rng)
    return *networks, tiny.clips(rng, 4)


def main(_):
    CONNECT()
    backbone, branch, batch = start(SEED.value)
    mesh = make_mesh(2, 2)
    assert jax.process_count() == 2 and len(jax.local_devices()) == 2
    step, losses = make_step(tiny.LOSS, OPTIMIZER, mesh), []
    log = lambda _, metrics: losses.append(metrics["loss"])
    state = init_state(jax.random.key(3), branch, OPTIMIZER)
    loop = LoopConfig(f"{OUT.value}/checkpoints", mesh, {"processes": 2}, save_every=1, log=log, log_every=1)
    state = run(step, state, shard(backbone, mesh), lambda _: batch, STEPS, loop)
    whole = multihost_utils.process_allgather(state.params, tiled=True)
    if jax.process_index() == 0:
        np.savez(f"{OUT.value}/end.npz", losses=losses, **{str(i): x for i, x in enumerate(jax.tree.leaves(whole))})
    print("processes ok")


if __name__ == "__main__":
    jax.config.update("jax_disable_most_optimizations", True)
    command_line.run(main)
