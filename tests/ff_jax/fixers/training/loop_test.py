"""The loop on one device: it learns, it is resumable, and it keeps frozen parameters."""

import json

import jax
import numpy as np
import pytest

from ff_jax.fixers.training.loop import LoopConfig, make_step, resume, run
from ff_jax.fixers.training.sharding import make_mesh, shard, shard_batch
from ff_jax.fixers.training.state import OptimizerConfig, init_state, make_optimizer
from ff_jax.runtime import checkpoint
from ff_jax.runtime.divergence import DivergedError
from tests.ff_jax.fixers.training import tiny
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

OPTIMIZER = make_optimizer(OptimizerConfig(steps=60, warmup=2, lr=1e-2))
SAMPLES = 4


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(1, 1, jax.devices()[:1])


@pytest.fixture(scope="module")
def step(mesh):
    return make_step(tiny.LOSS, OPTIMIZER, mesh, microbatches=2)


@pytest.fixture(scope="module")
def networks(mesh):
    backbone, branch = tiny.networks(seeded_rng())
    return shard(backbone, mesh), branch


def bits(tree):
    data = lambda leaf: jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
    return [np.array(data(leaf)) for leaf in jax.tree.leaves(tree)]


def batch_of(index):
    return tiny.clips(np.random.Generator(np.random.PCG64(index)), SAMPLES)


def test_an_interrupted_run_ends_with_the_same_bits(mesh, step, networks, tmp_path):
    backbone, branch = networks
    before, lines = bits(backbone), []
    start = lambda seed, params: init_state(jax.random.key(seed), params, OPTIMIZER)
    log = lambda *line: lines.append(line)
    loop = lambda folder: LoopConfig(tmp_path / folder, mesh, {"lr": 1e-2}, save_every=2, log_every=2, log=log)
    whole = run(step, start(5, branch), backbone, batch_of, 6, loop("whole"))
    assert [done for done, _ in lines] == [2, 4, 6]
    assert set(lines[0][1]) == {"loss", "error", "eig_error", "gradient"}
    run(step, start(5, branch), backbone, batch_of, 3, loop("parts"))
    # Nothing of the new state survives: all comes from the disk.
    other = start(6, jax.tree.map(np.zeros_like, branch))
    again = run(step, other, backbone, batch_of, 6, loop("parts"))
    assert int(again.step) == 6
    for found, wanted in zip(bits(again), bits(whole), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert any((a != b).any() for a, b in zip(bits(whole.params), bits(branch), strict=True))
    for found, wanted in zip(bits(backbone), before, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert checkpoint.restore(tmp_path / "parts", whole)[1:] == ({"lr": 1e-2}, 6)


def test_without_a_checkpoint_the_state_is_the_first(mesh, networks, tmp_path):
    state = init_state(jax.random.key(5), networks[1], OPTIMIZER)
    jax.tree.map(np.testing.assert_array_equal, bits(resume(tmp_path, state, mesh)), bits(state))


def test_a_small_batch_is_learned(mesh, step, networks):
    backbone, branch = networks
    batch = shard_batch(batch_of(seeded_rng().integers(2**31)), mesh)
    state, losses = shard(init_state(jax.random.key(5), branch, OPTIMIZER), mesh), []
    for _ in range(60):
        state, metrics = step(state, backbone, batch)
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


def nan_at(number, times=10**9):
    """Make batches, one of which is NaN at its first `times` requests."""
    asked = []

    def batch(index):
        asked.append(index)
        bad = index == number and asked.count(number) <= times
        return jax.tree.map(lambda leaf: leaf * (np.nan if bad else 1.0), batch_of(index))

    return batch


def test_a_diverged_training_keeps_a_good_checkpoint_and_saves_the_step(mesh, step, networks, tmp_path):
    backbone, branch = networks
    folder, start = tmp_path / "run", lambda: init_state(jax.random.key(5), branch, OPTIMIZER)
    with pytest.raises(
        DivergedError, match=r"training diverged at step 3 \(\d+ numbers of .* in the batch\): checkpoint 2 "
    ) as e:
        run(step, start(), backbone, nan_at(3), 6, LoopConfig(folder, mesh, {}, save_every=2))
    assert checkpoint.latest(folder) == 2 and "\n" not in str(e.value)
    report = json.loads((folder / "diverged" / "report.json").read_text())
    assert report["step"] == 3 and report["not_finite_in_batch"] and report["not_finite_after"]
    assert report["metrics"]["loss"] == "nan"
    stored = np.load(folder / "diverged" / "batch.npz")
    assert all(np.isnan(stored[name]).any() for name in report["not_finite_in_batch"])
    before = checkpoint.restore(folder / "diverged" / "checkpoint", start())[0]
    whole = run(step, start(), backbone, batch_of, 3, LoopConfig(tmp_path / "whole", mesh, {}))
    jax.tree.map(np.testing.assert_array_equal, bits(before), bits(whole))


def test_a_training_that_diverges_at_once_or_only_once(mesh, step, networks, tmp_path):
    backbone, branch = networks
    start = lambda: init_state(jax.random.key(5), branch, OPTIMIZER)
    with pytest.raises(DivergedError, match=r"diverged at step 0 .*: checkpoint 0 "):
        run(step, start(), backbone, nan_at(0), 3, LoopConfig(tmp_path / "a", mesh, {}, save_every=2))
    with pytest.raises(DivergedError, match=r"not when they were repeated: .* checkpoint 2\.$"):
        run(step, start(), backbone, nan_at(3, 1), 6, LoopConfig(tmp_path / "b", mesh, {}, save_every=2))
    run(step, start(), backbone, batch_of, 6, LoopConfig(tmp_path / "b", mesh, {}, save_every=2))
    assert checkpoint.latest(tmp_path / "b") == 6
