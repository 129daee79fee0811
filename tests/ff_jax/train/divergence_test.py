"""Training that diverges stops, keeps its last good checkpoint, and saves the step that diverged."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.pipeline.config import ActorConfig, FuseConfig, InitConfig
from ff_jax.pipeline.initialize import initialize, make_recording
from ff_jax.pipeline.phases import Phase, run_phase
from ff_jax.runtime import checkpoint
from ff_jax.runtime.divergence import DivergedError
from ff_jax.train.batches import TrainBatches
from ff_jax.train.config import ReconConfig
from ff_jax.train.loop import select_slot
from ff_jax.train.shift_schedule import ShiftSchedule

pytestmark = pytest.mark.slow

START, STOP = 7, 20  # the event is after a checkpoint (5), and after a check of the capacity
CONFIG = FuseConfig(
    steps=STOP,
    check_every=5,
    save_every=5,
    novel_probability=0.5,
    recon=ReconConfig(sh_degree=0, budget=40),
    init=InitConfig(points=30),
    actors=ActorConfig(slots=0),
    schedule=ShiftSchedule(start=START, every=50, meters=1.0, largest=1.0, refresh=0),
)


@pytest.fixture(scope="module")
def train():
    """Return a function that runs a phase in a folder with an event."""
    log = street_log(1, StreetConfig(num_frames=2, moving=False), 40, 24, ("front",), lidar=None)
    batches = TrainBatches(make_recording(log, CONFIG))

    def run(folder, event):
        state, plan = initialize(batches.recording, CONFIG, pseudo_views=3, steps=STOP)
        plan = dataclasses.replace(plan, schedule=CONFIG.schedule, novel_probability=CONFIG.novel_probability)
        return run_phase(Phase(folder, "fusing", STOP, event), state, plan, batches, CONFIG), plan, batches

    return run


def with_pseudo_views(state, images):
    """Fill the buffer with pseudo-views from the pose of the first recorded camera."""
    views = state.pseudo_views
    eye = jnp.broadcast_to(jnp.eye(4), views.camera_from_world.shape)
    K = jnp.broadcast_to(jnp.array([[30.0, 0, 20], [0, 30, 12], [0, 0, 1]]), views.K.shape)
    views = views.replace(images=images, weights=jnp.ones_like(views.weights), K=K, camera_from_world=eye)
    return state.replace(pseudo_views=views.replace(filled=jnp.int32(3)))


def gray_event(state, *_):
    return with_pseudo_views(state, state.pseudo_views.images + 0.5)


def nan_event(state, *_):
    return with_pseudo_views(state, jnp.full_like(state.pseudo_views.images, 0.5).at[:, 3, 4, 1].set(jnp.nan))


def test_the_step_that_diverged_is_found_and_saved(train, tmp_path):
    with pytest.raises(DivergedError) as caught:
        train(tmp_path, nan_event)
    last = checkpoint.latest(tmp_path / "checkpoints")
    report = json.loads((tmp_path / "diverged" / "report.json").read_text())
    step = report["step"]
    assert START <= step < START + 12 and last == step // 5 * 5
    message, where = str(caught.value), report["batch"]
    assert message.startswith(
        f"fusing diverged at step {step} (frame {where['frame']} of camera {where['camera']} and pseudo-view "
        f"{where['pseudo_view']}, 1 numbers of pseudo_view.image"
    )
    assert f"checkpoint {last} is kept" in message and "\n" not in message
    assert report["not_finite_in_batch"] == {"pseudo_view.image": 1} and report["not_finite_after"]
    batch = np.load(tmp_path / "diverged" / "batch.npz")
    assert np.isnan(batch["pseudo_view.image"][3, 4, 1]) and np.isnan(batch["pseudo_view.image"]).sum() == 1
    assert (tmp_path / "diverged" / "checkpoint" / str(step) / checkpoint.MANIFEST).exists()


def test_the_saved_state_is_that_before_the_step_and_is_finite(train, tmp_path):
    (state, plan), first_plan, _ = train(tmp_path / "whole", gray_event)
    assert int(state.train.step) == STOP
    with pytest.raises(DivergedError):
        train(tmp_path / "broken", nan_event)
    before, meta, step = checkpoint.restore(tmp_path / "broken" / "diverged" / "checkpoint", state)
    assert int(before.train.step) == step and meta["capacity"] == plan.settings.capacity
    for leaf in jax.tree.leaves(before.train.scene.params):
        assert np.isfinite(leaf).all()
    # It is the first step of the schedule that trains on a pseudo-view.
    novel = [select_slot(before, number, first_plan) is not None for number in range(START, step + 1)]
    assert novel == [False] * (step - START) + [True]


def test_an_error_that_does_not_repeat_is_reported_as_a_hardware_fault(train, tmp_path):
    calls = []

    def nan_once(state, *_):
        calls.append(True)
        return nan_event(state) if len(calls) == 1 else gray_event(state)

    message = r"not when they were repeated: a hardware fault is likely; .* checkpoint 5\.$"
    with pytest.raises(DivergedError, match=message):
        train(tmp_path, nan_once)
    (state, _), *_ = train(tmp_path, nan_once)  # continues from the checkpoint
    assert int(state.train.step) == STOP
