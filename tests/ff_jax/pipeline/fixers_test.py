"""The fixers of a run."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.recording import Recording
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.eig.scene_posterior import ScenePosterior
from ff_jax.fixers import identity
from ff_jax.fixers.skill import EDGES, Skill, no_skill
from ff_jax.pipeline import fixers
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.fixers import MeasuredFixer, check_fixers, event_shifts, fix_hook, report_skill
from ff_jax.pipeline.fuse import check_capacity
from ff_jax.render.renderer import RenderSettings
from ff_jax.runtime.stop import StopRequest
from ff_jax.train.batches import TrainBatches
from ff_jax.train.config import ReconConfig
from ff_jax.train.loop import TrainPlan
from ff_jax.train.optimizer import ScheduleScale, make_optimizer
from ff_jax.train.pseudo_views import init_pseudo_views
from ff_jax.train.shift_schedule import ShiftSchedule
from ff_jax.train.state import LoopState, init_state
from tests.scenes import scene_from_points

pytestmark = pytest.mark.slow

FULL_SKILL = Skill(jnp.ones(len(EDGES) + 1), jnp.ones(()))


@pytest.mark.parametrize(("step", "name"), [(3, "a"), (5, "a"), (9, "b")])
def test_the_late_fixer_replaces_the_fixer_once_the_largest_shift_is_reached(monkeypatch, step, name):
    used = []

    def add_pseudo_views(key, views, event):
        used.append(event.fixer.name)
        return views

    monkeypatch.setattr(fixers, "fit_posterior", lambda *_: object.__new__(ScenePosterior))
    monkeypatch.setattr(fixers, "add_pseudo_views", add_pseudo_views)
    log = street_log(1, StreetConfig(num_frames=2, moving=False), 40, 24, ("front",), lidar=None)
    schedule = ShiftSchedule(start=3, every=2, meters=1.0, largest=2.0, refresh=6)
    pair = tuple(MeasuredFixer(identity.make_identity().replace(name=name), FULL_SKILL) for name in "ab")
    batches, config = TrainBatches(Recording(log, log.frames)), FuseConfig(schedule=schedule, fixer="a", late_fixer="b")
    plan = TrainPlan(ReconConfig(), RenderSettings(capacity=4096), 1.0, 10)
    scene = scene_from_points(np.ones((1, 3)), np.ones((1, 3)), 1.0, capacity=1)
    train = init_state(jax.random.key(0), scene, make_optimizer(plan.recon.optim, ScheduleScale(1.0, 10)))
    fix_hook(batches, pair, config)(LoopState(train, init_pseudo_views(1, 2, 2)), step, plan)
    assert used == [name]


def test_unknown_fixers_are_errors():
    with pytest.raises(ValueError, match="invalid fixer='a'"):
        check_fixers(FuseConfig(fixer="a"))
    with pytest.raises(ValueError, match="invalid late_fixer='b'"):
        check_fixers(FuseConfig(fixer="none", late_fixer="b"))


def test_a_fixer_without_skill_is_reported(caplog):
    identity_fixer = identity.make_identity()
    useful, useless = (
        MeasuredFixer(identity_fixer.replace(name=name), skill)
        for name, skill in (("good", FULL_SKILL), ("bad", no_skill()))
    )
    assert report_skill((useful, useless)) == {"good": 1.0, "bad": 0.0}
    (record,) = caplog.records
    assert record.levelname == "WARNING" and record.args[0] == "bad"


def test_an_event_takes_the_largest_shifts_that_fit():
    schedule = ShiftSchedule(start=3, every=2, meters=1.0, largest=4.0)
    config = FuseConfig(schedule=schedule, pseudo_view_capacity=12, event_stride=2)
    assert event_shifts(3, config, 5) == [1.0, -1.0]
    assert event_shifts(9, config, 5) == [3.0, -3.0, 4.0, -4.0]


def test_an_event_that_keeps_older_views_adds_those_of_its_own_shift():
    schedule = ShiftSchedule(start=3, every=2, meters=1.0, largest=4.0, refresh=0, update="keep")
    config = FuseConfig(schedule=schedule, pseudo_view_capacity=40)
    assert [event_shifts(step, config, 5) for step in (3, 5, 9)] == [[1.0, -1.0], [2.0, -2.0], [4.0, -4.0]]
    check_capacity(config, 5)
    with pytest.raises(ValueError, match="all fix events together make 48 pseudo-views, more than"):
        check_capacity(config, 6)


@pytest.mark.parametrize(("update", "kept"), [("keep", 2), ("replace", 0)])
def test_an_event_starts_from_the_older_views_or_from_none(monkeypatch, update, kept):
    starts = []
    monkeypatch.setattr(fixers, "fit_posterior", lambda *_: object.__new__(ScenePosterior))
    monkeypatch.setattr(fixers, "add_pseudo_views", lambda key, views, event: starts.append(int(views.filled)) or views)
    log = street_log(1, StreetConfig(num_frames=2, moving=False), 40, 24, ("front",), lidar=None)
    config = FuseConfig(fixer="a", schedule=ShiftSchedule(refresh=0, update=update))
    plan = TrainPlan(ReconConfig(), RenderSettings(capacity=4096), 1.0, 10)
    scene = scene_from_points(np.ones((1, 3)), np.ones((1, 3)), 1.0, capacity=1)
    train = init_state(jax.random.key(0), scene, make_optimizer(plan.recon.optim, ScheduleScale(1.0, 10)))
    views = init_pseudo_views(4, 24, 40).replace(filled=jnp.int32(2))
    fixer = MeasuredFixer(identity.make_identity().replace(name="a"), FULL_SKILL)
    fix_hook(TrainBatches(Recording(log, log.frames)), (fixer, fixer), config)(LoopState(train, views), 3000, plan)
    assert starts == [kept]


def test_a_fixer_whose_skill_is_not_asked_for_is_not_measured(monkeypatch):
    monkeypatch.setattr(fixers, "pretrained_fixer", lambda name, config: identity.make_identity().replace(name=name))
    monkeypatch.setattr(fixers, "self_fit_pairs", lambda *_: pytest.fail("measured"))
    config, batches = FuseConfig(fixer="difix", use_skill=False), object.__new__(TrainBatches)
    found, late = fixers.fixers_for(batches, config, Path(), StopRequest())
    assert found.fixer.name == late.fixer.name == "difix" and found.skill.is_useful


def test_an_event_without_skill_and_points_empties_the_buffer(monkeypatch):
    monkeypatch.setattr(fixers, "fit_posterior", lambda *_: object.__new__(ScenePosterior))
    monkeypatch.setattr(fixers, "points_at_event", lambda *_: None)
    log = street_log(1, StreetConfig(num_frames=2, moving=False), 40, 24, ("front",), lidar=None)
    fixer = MeasuredFixer(identity.make_identity().replace(name="a"), no_skill())
    plan = TrainPlan(ReconConfig(), RenderSettings(capacity=4096), 1.0, 10)
    scene = scene_from_points(np.ones((1, 3)), np.ones((1, 3)), 1.0, capacity=1)
    train = init_state(jax.random.key(0), scene, make_optimizer(plan.recon.optim, ScheduleScale(1.0, 10)))
    views = init_pseudo_views(2, 24, 40).replace(filled=jnp.int32(2))
    hook = fix_hook(TrainBatches(Recording(log, log.frames)), (fixer, fixer), FuseConfig(fixer="a"))
    assert int(hook(LoopState(train, views), 3000, plan).pseudo_views.filled) == 0
