"""The start of a run: what its shapes depend on, and what is read for it."""

import dataclasses

import jax
import numpy as np
import pytest

from ff_jax.pipeline.initialize import make_feed, recorded_frames, start_run
from ff_jax.pipeline.phases import is_begun, run_phase
from tests.ff_jax.data import tiny
from tests.ff_jax.viewer.tiny_run import CONFIG


def shapes(run):
    return jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype), getattr(leaf, "weak_type", False)), run)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tiny.make_scene(tmp_path_factory.mktemp("log"))


def start(log, frames, config=CONFIG, **more):
    return start_run(log, make_feed(log, frames, config), config, pool=2, steps=10, **more)


def test_runs_on_some_frames_have_the_shapes_of_runs_on_all(log):
    frames = recorded_frames(log)
    (run, recipe), (thin, other) = start(log, frames), start(log, frames[:4])
    assert run.state.scene.tracks is not None and shapes(run) == shapes(thin)
    assert run.state.scene.params.poses.shape == (6, 6) and recipe.radius != other.radius


def test_learnt_poses_have_a_row_per_frame_of_the_feed(log):
    optim = dataclasses.replace(CONFIG.recon.optim, poses=1e-3)
    config = dataclasses.replace(CONFIG, recon=dataclasses.replace(CONFIG.recon, optim=optim))
    run, _ = start(log, recorded_frames(log)[:4], config)
    assert run.state.scene.params.poses.shape == (4, 6)


def test_a_run_to_restore_into_reads_nothing_of_the_log(tmp_path):
    log = tiny.make_scene(tmp_path / "log")
    run, recipe = start(log, recorded_frames(log))
    feed = make_feed(log, recorded_frames(log), CONFIG)
    assert not is_begun(tmp_path / "phase")
    run_phase(tmp_path / "phase", "nothing", run, recipe, 0, feed, CONFIG)
    assert not is_begun(tmp_path / "phase")  # no step was asked for, none is kept
    run, recipe = run_phase(tmp_path / "phase", "one step", run, recipe, 1, feed, CONFIG)
    kept = [np.asarray(leaf) for leaf in jax.tree.leaves(run.state.scene)]
    for file in (tmp_path / "log").iterdir():
        file.unlink()
    assert is_begun(tmp_path / "phase")
    blank, other = start(log, recorded_frames(log), shapes_only=True)
    assert shapes(blank) == shapes(run) and other.radius == recipe.radius
    found, restored = run_phase(tmp_path / "phase", "one step", blank, other, 1, feed, CONFIG)
    jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(found.state.scene), kept)
    assert restored.settings.capacity == recipe.settings.capacity
