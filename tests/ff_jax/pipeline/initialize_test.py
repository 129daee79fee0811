"""The start of a run: the shapes of its arrays, and the files that it reads."""

import dataclasses

import jax
import numpy as np
import pytest

from ff_jax.data.recording import train_frames
from ff_jax.pipeline import initialize as initialization
from ff_jax.pipeline.fuse import fuse, reconstruct
from ff_jax.pipeline.initialize import initialize, make_recording
from ff_jax.pipeline.phases import Phase, run_phase
from ff_jax.runtime.stop import StoppedError, StopRequest
from ff_jax.train.batches import TrainBatches
from tests.ff_jax.data import tiny
from tests.ff_jax.viewer.tiny_run import CONFIG

pytestmark = pytest.mark.slow


def shapes(state):
    return jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype), getattr(leaf, "weak_type", False)), state)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tiny.make_scene(tmp_path_factory.mktemp("log"))


def start(log, frames=None, config=CONFIG, **options):
    return initialize(make_recording(log, config, frames), config, pseudo_views=2, steps=10, **options)


def test_runs_on_some_frames_have_the_shapes_of_runs_on_all(log):
    (state, plan), (part_state, part_plan) = start(log), start(log, train_frames(log)[:4])
    assert state.train.scene.tracks is not None and shapes(state) == shapes(part_state)
    assert state.train.scene.params.poses.shape == (6, 6) and plan.radius != part_plan.radius


def test_optimized_poses_have_a_row_per_recorded_frame(log):
    optim = dataclasses.replace(CONFIG.recon.optim, poses=1e-3)
    config = dataclasses.replace(CONFIG, recon=dataclasses.replace(CONFIG.recon, optim=optim))
    state, _ = start(log, train_frames(log)[:4], config)
    assert state.train.scene.params.poses.shape == (4, 6)


def test_a_run_to_restore_into_reads_no_file_of_the_log(tmp_path):
    log = tiny.make_scene(tmp_path / "log")
    state, plan = start(log)
    batches = TrainBatches(make_recording(log, CONFIG))
    none, one = (Phase(tmp_path / "phase", f"{stop} steps", stop) for stop in (0, 1))
    assert not one.is_begun
    run_phase(none, state, plan, batches, CONFIG)
    assert not one.is_begun  # without a step there is no checkpoint
    state, plan = run_phase(one, state, plan, batches, CONFIG)
    expected = [np.asarray(leaf) for leaf in jax.tree.leaves(state.train.scene)]
    for file in (tmp_path / "log").iterdir():
        file.unlink()
    assert one.is_begun
    blank, blank_plan = start(log, shapes_only=True)
    assert shapes(blank) == shapes(state) and blank_plan.radius == plan.radius
    restored, restored_plan = run_phase(one, blank, blank_plan, batches, CONFIG)
    jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(restored.train.scene), expected)
    assert restored_plan.settings.capacity == plan.settings.capacity


class StopAtTheFirstCheck(StopRequest):
    def check(self):
        self.is_made = True
        return super().check()


def test_a_stopped_phase_is_saved_and_continues_to_the_same_numbers(log, tmp_path):
    batches = TrainBatches(make_recording(log, CONFIG))
    request = StopAtTheFirstCheck()
    with pytest.raises(StoppedError, match=r"checkpoints/1"):
        run_phase(Phase(tmp_path / "stopped", "3 steps", 3, request=request), *start(log), batches, CONFIG)
    assert not request.is_checked
    states = [
        run_phase(Phase(tmp_path / name, "3 steps", 3), *start(log, shapes_only=name == "stopped"), batches, CONFIG)[0]
        for name in ("stopped", "whole")
    ]
    leaves = [[np.asarray(leaf) for leaf in jax.tree.leaves(state.train.scene)] for state in states]
    jax.tree.map(np.testing.assert_array_equal, *leaves)


def test_a_log_without_training_frames_is_an_error(log):
    with pytest.raises(ValueError, match="log 'tiny' has no training frame"):
        make_recording(log, CONFIG, ())


@pytest.mark.parametrize("job", [fuse, reconstruct])
def test_a_job_refuses_a_broken_log_or_no_steps_before_it_writes(job, tmp_path):
    log = tiny.make_scene(tmp_path / "files")
    config = dataclasses.replace(CONFIG, fixer="none")
    with pytest.raises(ValueError, match="invalid steps=0"):
        job(
            dataclasses.replace(config, steps=0, schedule=dataclasses.replace(config.schedule, start=0)),
            log,
            tmp_path / "run",
        )
    log.frames[2].K[0, 0] = -38.0
    with pytest.raises(ValueError, match=r"frame 2 .*fx = -38"):
        job(config, log, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_ground_comes_first_and_has_the_points_on_the_road(log, monkeypatch):
    """Here the road are all points to the right."""
    monkeypatch.setattr(initialization, "on_road", lambda log, xyz, seed: xyz[:, 1] < 0)
    config = dataclasses.replace(CONFIG, init=dataclasses.replace(CONFIG.init, ground=10, points=60))
    state, _ = start(log, config=config)
    scene = state.train.scene
    means, alive = np.asarray(scene.params.gaussians.means), np.asarray(scene.alive)
    assert scene.num_ground == 10 and alive[:10].all() and (means[:10, 1] < 0).all()
    background = means[10 : scene.num_static][alive[10 : scene.num_static]]
    assert len(background) and (background[:, 1] >= 0).all()
    assert shapes(state) == shapes(start(log, config=config, shapes_only=True)[0])
    assert scene.alive.shape == start(log)[0].train.scene.alive.shape  # a part of the budget


def test_without_a_road_the_setting_is_named(log, monkeypatch):
    def no_road(log, xyz, seed):
        raise ValueError("no road was found")

    monkeypatch.setattr(initialization, "on_road", no_road)
    config = dataclasses.replace(CONFIG, init=dataclasses.replace(CONFIG.init, ground=10))
    with pytest.raises(ValueError, match=r"init.ground=10 needs a road: set it to 0 \(no road was found\)"):
        start(log, config=config)


def test_a_deformation_for_novel_cameras_comes_with_a_place_for_their_offsets(log):
    config = dataclasses.replace(CONFIG, recon=dataclasses.replace(CONFIG.recon, deform_novel=True))
    state, _ = start(log, config=config)
    assert state.train.scene.params.novel is not None and state.pseudo_views.offsets.shape == (2, 3)
    assert start(log)[0].pseudo_views.offsets is None
