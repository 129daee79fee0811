"""Checkpoints keep every bit, survive kills and corruption, and say what is wrong."""

import errno
import logging
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.studies.measures.robustness.torn_checkpoints import TEARS, flip_one_bit
from ff_jax.runtime import checkpoint
from ff_jax.runtime.atomic_files import DiskFullError
from tests.random_inputs import seeded_rng


class Statistics(NamedTuple):
    count: np.ndarray
    cursor: int


def make_state(rng=None):
    """A state with every kind of leaf that training has, and the values that are easily lost."""
    rng = rng or seeded_rng()
    params = {"means": jnp.asarray(rng.normal(size=(7, 3)), jnp.float32), "empty": jnp.zeros((0, 3))}
    return {
        "params": params,
        "half": jnp.asarray(rng.normal(size=5), jnp.bfloat16),
        "odd": jnp.asarray([-0.0, 0.0, np.nan, np.inf, 1e-45], jnp.float32),
        "alive": jnp.asarray(rng.random(9) < 0.5),
        "opt": optax.adam(1e-3).init(params),
        "key": jax.random.key(int(rng.integers(1000))),
        "keys": jax.random.split(jax.random.key(1), 3),
        "statistics": Statistics(rng.random(4), 12),
        "scalar": np.float32(rng.random()),
        "step": jnp.int32(3),
        "rate": 0.1,
        "nothing": None,
    }


def assert_same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert type(x) is type(y)
        if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            assert x.dtype == y.dtype
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        x, y = np.asarray(x), np.asarray(y)
        assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())


def test_nothing_is_compiled_again_for_what_was_restored(tmp_path):
    state, traces = {"x": jnp.arange(3.0), "key": jax.random.key(4)}, []

    @jax.jit
    def step(state):
        traces.append(1)
        return {"x": state["x"] + jax.random.normal(state["key"], 3), "key": jax.random.split(state["key"], 1)[0]}

    state = step(state)
    compiled = step._cache_size()
    checkpoint.save(tmp_path, 1, state, {})
    for like in (state, jax.eval_shape(lambda: state)):
        restored = checkpoint.restore(tmp_path, like)[0]
        assert not any(leaf.committed for leaf in jax.tree.leaves(restored))
        assert_same_bits(step(restored), step(state))
    assert (len(traces), step._cache_size()) == (1, compiled)
    held = jax.device_put(state, jax.devices()[0])
    assert all(leaf.committed for leaf in jax.tree.leaves(checkpoint.restore(tmp_path, held)[0]))


def blank(state):
    """The same structure with other values, where numbers can be changed."""
    numbers = (jnp.float32, jnp.bfloat16, np.float64, jnp.int32)
    return jax.tree.map(lambda x: x * 0 if getattr(x, "dtype", bool) in numbers else x, state)


def test_round_trip_keeps_every_bit_type_and_the_structure(tmp_path):
    state = make_state()
    meta = {"shift": 2.0, "config": {"name": "x"}}
    checkpoint.save(tmp_path, 40, state, meta)
    restored, restored_meta, step = checkpoint.restore(tmp_path, blank(state))
    assert_same_bits(state, restored)
    assert (restored_meta, step) == (meta, 40)


def test_abstract_state_of_shapes_is_enough(tmp_path):
    state = {"a": jnp.arange(6.0).reshape(2, 3), "key": jax.random.key(5), "empty": jnp.zeros((0, 2))}
    checkpoint.save(tmp_path, 1, state, {})
    restored, _, _ = checkpoint.restore(tmp_path, jax.eval_shape(lambda: state))
    assert_same_bits(state, restored)


def test_only_the_newest_stay_and_each_can_be_restored(tmp_path):
    for step in (1, 2, 10, 20):
        checkpoint.save(tmp_path, step, {"a": jnp.full(3, step)}, {"s": step}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["10", "20"]
    assert checkpoint.latest(tmp_path) == 20
    state, meta, step = checkpoint.restore(tmp_path, {"a": jnp.zeros(3, int)}, step=10)
    assert (int(state["a"][0]), meta["s"], step) == (10, 10, 10)


@pytest.mark.parametrize("tear", TEARS.values(), ids=TEARS.keys())
def test_torn_last_checkpoint_is_reported_and_the_one_before_used(tmp_path, tear, caplog):
    states = {s: {"a": jax.random.normal(jax.random.key(s), (300,))} for s in (1, 2)}
    for step, state in states.items():
        checkpoint.save(tmp_path, step, state, {"step": step})
    tear(tmp_path)
    with caplog.at_level(logging.WARNING):
        restored, meta, step = checkpoint.restore(tmp_path, states[2])
    assert (step, meta) == (1, {"step": 1})
    assert_same_bits(restored, states[1])
    assert f"{tmp_path}/2 is torn" in caplog.text
    with pytest.raises(checkpoint.CheckpointError, match="torn"):
        checkpoint.restore(tmp_path, states[2], step=2)
    checkpoint.save(tmp_path, 2, states[2], {"step": 2})
    assert checkpoint.latest(tmp_path) == 2


def test_latest_reads_sizes_alone_and_a_changed_later_step_may_be_replaced(tmp_path, monkeypatch):
    states = {s: {"a": jax.random.normal(jax.random.key(s), (300,))} for s in (1, 2)}
    for step, state in states.items():
        checkpoint.save(tmp_path, step, state, {"step": step})
    flip_one_bit(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_digest", None)
        assert checkpoint.latest(tmp_path) == 2
    assert checkpoint.latest(tmp_path, verify=True) == checkpoint.restore(tmp_path, states[1])[2] == 1
    checkpoint.save(tmp_path, 1, states[1], {})
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_leftovers_of_a_killed_write_are_ignored_and_removed(tmp_path):
    state = {"a": jnp.ones(3)}
    checkpoint.save(tmp_path, 1, state, {})
    for name in ("2.orbax-checkpoint-tmp-0", ".deleted-7-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_text("x")
    assert checkpoint.restore(tmp_path, state)[2] == 1
    checkpoint.save(tmp_path, 2, state, {})
    assert checkpoint.latest(tmp_path) == 2
    assert not (tmp_path / ".deleted-7-1").exists()


WRITER = """
import sys, jax, jax.numpy as jnp
from experiments.studies.measures.robustness.torn_checkpoints import TEARS, flip_one_bit
from ff_jax.runtime import checkpoint
state = {f"a{i}": jax.random.normal(jax.random.key(i), (400, 1000)) for i in range(6)}
for step in range(1, 1000):
    checkpoint.save(sys.argv[1], step, state, {"step": step}, keep=2)
    print(step, flush=True)
"""


@pytest.mark.slow
def test_kill_in_the_middle_of_a_save_leaves_the_one_before(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == "1\n"
        deadline = time.monotonic() + 30
        torn = False
        while not torn and time.monotonic() < deadline:
            names = [p.name for p in tmp_path.iterdir()]
            unfinished = "2" in names and not (tmp_path / "2" / checkpoint.MANIFEST).exists()
            torn = unfinished or any("tmp" in name for name in names)
        process.send_signal(signal.SIGKILL)
        finished = 1 + len(process.stdout.readlines())
    assert torn
    state = {f"a{i}": jax.random.normal(jax.random.key(i), (400, 1000)) for i in range(6)}
    restored, meta, step = checkpoint.restore(tmp_path, state)
    assert step in (finished, finished + 1) and meta == {"step": step}
    assert_same_bits(restored, state)


def test_full_disk_is_one_sentence_and_earlier_checkpoints_stay(tmp_path, monkeypatch):
    state = {"a": jnp.ones(3)}
    checkpoint.save(tmp_path, 1, state, {})

    def fail(*args, **kwargs):
        (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
        raise ValueError("RESOURCE_EXHAUSTED: write failed: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.ocp.CheckpointManager, "save", fail)
        with pytest.raises(DiskFullError, match=f"no space is left .* {tmp_path}/2") as error:
            checkpoint.save(tmp_path, 2, state, {})
    assert error.value.errno == errno.ENOSPC
    assert [p.name for p in tmp_path.iterdir()] == ["1"]
    assert checkpoint.latest(tmp_path) == 1


LIMITED = """
import resource, sys, jax, jax.numpy as jnp
from experiments.studies.measures.robustness.torn_checkpoints import TEARS, flip_one_bit
from ff_jax.runtime import checkpoint
draw = lambda step: {"a": jax.random.normal(jax.random.key(step), (100_000,))}
checkpoint.save(sys.argv[1], 1, draw(1), {})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
checkpoint.save(sys.argv[1], 2, draw(2), {})
"""


@pytest.mark.slow
def test_files_that_may_not_grow_leave_the_checkpoint_before(tmp_path):
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True)
    assert f"DiskFullError: [Errno 27] files may not grow large enough to write {tmp_path}/2" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    restored, _, step = checkpoint.restore(tmp_path, {"a": jnp.zeros(100_000)})
    assert step == 1
    np.testing.assert_array_equal(restored["a"], jax.random.normal(jax.random.key(1), (100_000,)))


def test_other_shapes_dtypes_and_structures_are_named(tmp_path):
    checkpoint.save(tmp_path, 1, {"means": jnp.zeros((8, 3)), "n": jnp.int32(0)}, {})
    with pytest.raises(checkpoint.CheckpointError, match=r"\['means'\]: float32\(8, 3\) in the file"):
        checkpoint.restore(tmp_path, {"means": jnp.zeros((9, 3)), "n": jnp.int32(0)})
    with pytest.raises(checkpoint.CheckpointError, match="bfloat16"):
        checkpoint.restore(tmp_path, {"means": jnp.zeros((8, 3), jnp.bfloat16), "n": jnp.int32(0)})
    with pytest.raises(checkpoint.CheckpointError, match="absent"):
        checkpoint.restore(tmp_path, {"means": jnp.zeros((8, 3))})


def test_going_back_needs_a_rewind(tmp_path):
    state = {"a": jnp.ones(3)}
    for step in (1, 5):
        checkpoint.save(tmp_path, step, state, {})
    with pytest.raises(ValueError, match="holds step 5"):
        checkpoint.save(tmp_path, 2, state, {})
    checkpoint.rewind(tmp_path, 1)
    checkpoint.save(tmp_path, 2, state, {})
    assert checkpoint.latest(tmp_path) == 2


def test_nothing_there_and_text_leaves_are_refused(tmp_path):
    assert checkpoint.latest(tmp_path / "none") is None
    with pytest.raises(FileNotFoundError, match="no whole checkpoint"):
        checkpoint.restore(tmp_path, {})
    with pytest.raises(ValueError, match="put it into meta"):
        checkpoint.save(tmp_path, 1, {"name": "text"}, {})
    with pytest.raises(ValueError, match="keep=0"):
        checkpoint.save(tmp_path, 1, {}, {}, keep=0)
