"""Phases of a training: resuming, pausing and ending."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.fixers.training.phase import PhaseConfig, PhaseContext, Problem, train_phase
from ff_jax.fixers.training.sharding import make_mesh
from ff_jax.runtime.stop import StoppedError, StopRequest

pytestmark = pytest.mark.slow

CONFIG = PhaseConfig(steps=6, lr=0.1, decay=0.5, save_every=2)


def loss(params, frozen, batch, keys):
    return jnp.mean(jnp.square(params["x"] - batch)), {}


def phase(folder, config=CONFIG, **options):
    mesh = make_mesh(1, 1, jax.devices()[:1])
    batch_of = lambda key: 3.0 + jax.random.normal(key, (2,))
    problem = Problem(loss, {"x": jnp.zeros(())}, {}, batch_of)
    context = PhaseContext(folder, jax.random.key(1), mesh, {"crop": [96, 96]}, **options)
    params, over = train_phase(problem, config, context)
    return float(params["x"]), over


def test_a_deadline_pauses_a_phase_and_its_own_limit_ends_it(tmp_path):
    rows = []
    whole, over = phase(tmp_path / "a", log=lambda *row: rows.append(row))
    assert over and 0 < whole < 3
    checks = [(step, average) for step, metrics, average in rows if metrics is None]
    assert [step for step, _ in checks] == [2, 4, 6]
    np.testing.assert_array_equal(float(checks[-1][1]["x"]), whole)
    assert json.loads((tmp_path / "a" / "6" / "meta" / "metadata").read_text()) == {"crop": [96, 96]}
    paused, over = phase(tmp_path / "b", deadline=0.0)
    assert not over and paused == float(checks[0][1]["x"])
    assert phase(tmp_path / "b") == (whole, True)
    short = dataclasses.replace(CONFIG, minutes=1e-9)
    assert phase(tmp_path / "c", short) == (paused, True)
    assert phase(tmp_path / "c", short) == phase(tmp_path / "c") == (paused, True)


def test_a_stopped_phase_is_saved_and_continues_to_the_same_numbers(tmp_path):
    request = StopRequest()

    def stop_at_the_first_check(step, metrics, average):
        request.is_made = average is not None

    with pytest.raises(StoppedError, match="step 3"):
        phase(tmp_path / "a", log=stop_at_the_first_check, request=request)
    assert phase(tmp_path / "a") == phase(tmp_path / "b")
