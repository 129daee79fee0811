"""Two processes on one machine train as one does; what both save, one restores."""

import os
import socket

import jax
import numpy as np
import pytest

from ff_jax.fixers.training.loop import make_step, resume
from ff_jax.fixers.training.sharding import make_mesh, shard, shard_batch
from ff_jax.fixers.training.state import init_state
from ff_jax.runtime import checkpoint
from tests import programs
from tests.ff_jax.fixers.training import tiny
from tests.ff_jax.fixers.training.simulated_devices import OPTIMIZER
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

PROGRAM = "tests.ff_jax.fixers.training.processes"
FLAGS = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def test_two_processes_train_as_one_and_one_restores(tmp_path):
    seed = int(seeded_rng().integers(2**31))
    both = [f"--coordinator=localhost:{free_port()}", "--processes=2", f"--seed={seed}", f"--out={tmp_path}"]
    ends = programs.run_together(PROGRAM, [(*both, f"--process={number}") for number in range(2)], XLA_FLAGS=FLAGS)
    assert all("processes ok" in done.stdout for done in ends), [done.stdout + done.stderr[-3000:] for done in ends]
    rng = np.random.Generator(np.random.PCG64(seed))
    end = np.load(tmp_path / "end.npz")
    mesh = make_mesh(1, 1, jax.devices()[:1])
    backbone, branch = tiny.networks(rng)
    batch = tiny.clips(rng, 4)
    blank = init_state(jax.random.key(0), jax.tree.map(np.zeros_like, branch), OPTIMIZER)
    restored = resume(tmp_path / "checkpoints", blank, mesh)
    assert int(restored.step) == 2 and restored.key == jax.random.key(3)
    for number, leaf in enumerate(jax.tree.leaves(restored.params)):
        np.testing.assert_array_equal(leaf, end[str(number)])
    assert checkpoint.restore(tmp_path / "checkpoints", restored)[1] == {"processes": 2}
    step = make_step(tiny.LOSS, OPTIMIZER, mesh)
    state, frozen = shard(init_state(jax.random.key(3), branch, OPTIMIZER), mesh), shard(backbone, mesh)
    for wanted in end["losses"]:
        state, metrics = step(state, frozen, shard_batch(batch, mesh))
        np.testing.assert_allclose(float(metrics["loss"]), wanted, rtol=1e-5)


def test_flags_that_do_not_belong_together_get_one_sentence(tmp_path):
    done = programs.run_process(
        PROGRAM, "--coordinator=localhost:1", "--processes=2", f"--out={tmp_path}", XLA_FLAGS=FLAGS
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "--process=None: expected all three" in done.stderr
