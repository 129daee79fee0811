"""Training that diverges stops, keeps its last good checkpoint, and shows the step that broke it."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.synthetic import WorldConfig
from ff_jax.data.synthetic.driving_log import world_scene
from ff_jax.pipeline.config import ActorConfig, FuseConfig, InitConfig
from ff_jax.pipeline.initialize import make_feed, start_run
from ff_jax.pipeline.phases import run_phase
from ff_jax.runtime import checkpoint
from ff_jax.runtime.divergence_report import DivergedError
from ff_jax.train.loop import choose
from ff_jax.train.shift_schedule import ShiftSchedule
from ff_jax.train.step import ReconConfig

START, STOP = 7, 20  # the event comes after a checkpoint (5), and after a look at the capacity
CONFIG = FuseConfig(
    steps=STOP,
    check_every=5,
    save_every=5,
    novel_probability=0.5,
    recon=ReconConfig(sh_degree=0, budget=40),
    init=InitConfig(points=30),
    actors=ActorConfig(slots=0),
    schedule=ShiftSchedule(start=START, every=50, metres=1.0, largest=1.0, refresh=0),
)


@pytest.fixture(scope="module")
def training():
    """Return what starts a phase anew, with an event of one's own."""
    log = world_scene(1, WorldConfig(num_frames=2, moving=False), 40, 24, ("front",), lidar=False)
    feed = make_feed(log, log.frames, CONFIG)

    def start(folder, event):
        run, recipe = start_run(log, feed, CONFIG, pool=3, steps=STOP)
        recipe = dataclasses.replace(recipe, schedule=CONFIG.schedule, novel_probability=CONFIG.novel_probability)
        return run_phase(folder, "fusing", run, recipe, STOP, feed, CONFIG, event), recipe, feed

    return start


def filled(run, images):
    """Return the run with pseudo-views in the pool, looking along the first recorded camera."""
    pool = run.pool
    eye = jnp.broadcast_to(jnp.eye(4), pool.camera_from_world.shape)
    lens = jnp.broadcast_to(jnp.array([[30.0, 0, 20], [0, 30, 12], [0, 0, 1]]), pool.K.shape)
    pool = pool.replace(images=images, weights=jnp.ones_like(pool.weights), K=lens, camera_from_world=eye)
    return run.replace(pool=pool.replace(filled=jnp.int32(3)))


def broken(run, *_):
    return filled(run, jnp.full_like(run.pool.images, 0.5).at[:, 3, 4, 1].set(jnp.nan))


def test_the_step_that_broke_it_is_found_and_saved(training, tmp_path):
    with pytest.raises(DivergedError) as caught:
        training(tmp_path, broken)
    kept = checkpoint.latest(tmp_path / "checkpoints")
    report = json.loads((tmp_path / "diverged" / "report.json").read_text())
    step = report["step"]
    assert START <= step < START + 12 and kept == step // 5 * 5
    sentence = str(caught.value)
    assert sentence.startswith(
        f"fusing broke at step {step} (pseudo-view {report['batch']['slot']}, 1 numbers of image"
    )
    assert f"checkpoint {kept} is kept" in sentence and "\n" not in sentence
    assert report["not_finite_in_batch"] == {"image": 1} and report["not_finite_after"]
    batch = np.load(tmp_path / "diverged" / "batch.npz")
    assert np.isnan(batch["image"][3, 4, 1]) and np.isnan(batch["image"]).sum() == 1
    assert (tmp_path / "diverged" / "checkpoint" / str(step) / checkpoint.MANIFEST).exists()


def test_what_is_saved_is_the_state_just_before_and_all_in_it_is_finite(training, tmp_path):
    (run, recipe), first, feed = training(tmp_path / "whole", lambda run, *_: filled(run, run.pool.images + 0.5))
    assert int(run.state.step) == STOP
    with pytest.raises(DivergedError):
        training(tmp_path / "broken", broken)
    before, meta, step = checkpoint.restore(tmp_path / "broken" / "diverged" / "checkpoint", run)
    assert int(before.state.step) == step and meta["capacity"] == recipe.settings.capacity
    for leaf in jax.tree.leaves(before.state.scene.params):
        assert np.isfinite(leaf).all()
    # It is the first step of the schedule that looks at the pool.
    looks = [choose(before, number, first, feed)[0] for number in range(START, step + 1)]
    assert looks == [False] * (step - START) + [True]


def test_a_fault_that_does_not_come_again_is_the_machine_s(training, tmp_path):
    calls = []

    def once(run, *_):
        calls.append(True)
        return broken(run) if len(calls) == 1 else filled(run, run.pool.images + 0.5)

    with pytest.raises(DivergedError, match=r"not when they were repeated: a fault of the machine .* checkpoint 5\.$"):
        training(tmp_path, once)
    (run, _), *_ = training(tmp_path, once)  # goes on from the checkpoint
    assert int(run.state.step) == STOP
