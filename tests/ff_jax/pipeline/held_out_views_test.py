"""Held-out views as triples; reconstruction, EIG and re-projection are replaced by stubs."""

import dataclasses
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.recording import Recording
from ff_jax.data.synthetic import StreetConfig
from ff_jax.eig.scene_posterior import EigRender, ScenePosterior
from ff_jax.fixers import identity
from ff_jax.fixers.reference_unet.config import ReferenceUnetConfig
from ff_jax.fixers.self_fit import SelfFitConfig
from ff_jax.pipeline import held_out_views, self_fit_pairs
from ff_jax.pipeline.config import FuseConfig, PairsConfig
from ff_jax.pipeline.held_out_views import nearest_index, truth_of, view_triples
from ff_jax.runtime.stop import StopRequest
from ff_jax.scene import SceneModel
from ff_jax.train.batches import TrainBatches
from tests.ff_jax.pipeline.street_pairs_test import fake_street_log

pytestmark = pytest.mark.slow

FIXERS = {
    "separate": identity.make_identity().replace(use_separate_references=True),
    "aligned": identity.make_identity().replace(use_aligned_references=True),
    "nearest": identity.make_identity(),
}


def model_of(level):
    """Return a scene that `stubs` renders in one color."""
    model = object.__new__(SceneModel)
    object.__setattr__(model, "level", level)
    return model


@pytest.fixture
def log():
    return fake_street_log(7, StreetConfig(num_frames=5), 4, 3, ())


@pytest.fixture
def stubs(monkeypatch):
    """Replace what is slow; return the numbers of sources that were left out."""
    skips = []

    def render_clip(model, posterior, views):
        plane = jnp.full((len(views), 3, 4), 0.25 * model.level)
        return EigRender(jnp.repeat(plane[..., None], 3, -1), plane, plane)

    def references_for(fixer, clip, views, near, posterior, batches, skip=0):
        skips.append(skip)
        if fixer.use_separate_references:
            return jnp.full((len(views), 2, 3, 4, 4), 10 + skip, jnp.uint8)
        return jnp.full((len(views), 3, 4, 3), 0.2)

    for name, stub in (("render_clip", render_clip), ("references_for", references_for)):
        monkeypatch.setattr(held_out_views, name, stub)
    monkeypatch.setattr(held_out_views, "fit_posterior", lambda *_: object.__new__(ScenePosterior))
    return skips


def test_what_moves_has_no_weight(log):
    mask = np.zeros((3, 4), np.float32)
    mask[0] = 1.0
    moving = dataclasses.replace(log.frames[2], masks={"dynamic": Source("mask", lambda: mask)})
    log = dataclasses.replace(log, frames=(*log.frames[:2], moving, *log.frames[3:]))
    images, weights = truth_of(Recording(log, log.frames[:1]), log.frames[1:3])
    np.testing.assert_array_equal(images[:, 1, 1], [[1, 100, 7], [2, 100, 7]])
    np.testing.assert_array_equal(weights, np.stack([np.full((3, 4), 255), 255 * (1 - mask)]))


def test_the_nearest_frame_is_of_the_same_camera_if_several_are(log):
    both = [dataclasses.replace(log.frames[0], camera=name) for name in ("left", "front")]
    assert nearest_index(log.frames[1], [*both, log.frames[4]]) == 1


@pytest.mark.parametrize("name", FIXERS)
def test_triples_hold_what_the_fixer_needs(log, stubs, name):
    batches = TrainBatches(Recording(log, log.frames[::2]))
    near, far = view_triples(model_of(1), batches, log.frames[1::2], FIXERS[name], FuseConfig(), (0, 2))
    assert stubs == [0, 2] and near.renders.dtype == near.references.dtype == np.uint8
    np.testing.assert_array_equal(near.renders, np.full((2, 3, 4, 3), 64))
    np.testing.assert_array_equal(near.targets[:, 0, 0], [[1, 100, 7], [3, 100, 7]])
    expected = (10, 12) if name == "separate" else (51, 51)
    assert [int(part.references.mean()) for part in (near, far)] == list(expected)


def test_pairs_of_two_stages_are_ordered_by_time(log, stubs, monkeypatch, tmp_path):
    phases = []

    def run_phase(phase, state, plan, batches, config):
        phases.append((phase.folder.name, phase.stop))
        return state, plan

    plan = SimpleNamespace(model=lambda state, step: model_of(step / 20))
    monkeypatch.setattr(self_fit_pairs, "initialize", lambda *_, **__: (SimpleNamespace(train=None), plan))
    monkeypatch.setattr(self_fit_pairs, "run_phase", run_phase)
    config = FuseConfig(pairs=PairsConfig(every=2, steps=40, skip=1))
    batches = TrainBatches(Recording(log, log.frames))
    inputs = batches, FIXERS["separate"], config, tmp_path / "subsampled", StopRequest()
    found = self_fit_pairs.self_fit_pairs(*inputs)
    assert phases == [("subsampled_early", 20), ("subsampled", 40)]
    np.testing.assert_array_equal(found.targets[:, 0, 0, 0], [1] * 4 + [3] * 4)
    np.testing.assert_array_equal(found.references[:, 0, 0, 0, 0], [10, 11] * 4)
    np.testing.assert_array_equal(found.renders[:, 0, 0, 0], [64, 64, 128, 128] * 2)


def test_pairs_of_a_restorer_come_from_the_stated_steps_of_all_frames(log, stubs, monkeypatch, tmp_path):
    phases, starts = [], []

    def initialize(recording, config, steps, **_):
        starts.append((len(recording.frames), steps, config.recon.density.stop))
        return SimpleNamespace(train=None), SimpleNamespace(model=lambda state, step: model_of(step / 20))

    def run_phase(phase, state, plan, batches, config):
        phases.append((phase.folder.name, phase.stop))
        return state, plan

    monkeypatch.setattr(self_fit_pairs, "initialize", initialize)
    monkeypatch.setattr(self_fit_pairs, "run_phase", run_phase)
    network = ReferenceUnetConfig(use_references=False)
    config = FuseConfig(steps=5000, pairs=PairsConfig(stops=(40, 10, 20)), self_fit=SelfFitConfig(network=network))
    batches = TrainBatches(Recording(log, log.frames))
    inputs = batches, FIXERS["nearest"], config, tmp_path / "run", StopRequest()
    found = self_fit_pairs.self_fit_pairs(*inputs)
    assert starts == [(5, 5000, config.recon.density.stop)]  # as the run itself begins
    assert phases == [("run_10", 10), ("run_20", 20), ("run", 40)]
    np.testing.assert_array_equal(found.targets[:, 0, 0, 0], np.repeat(np.arange(5), 3))
    np.testing.assert_array_equal(found.renders[:, 0, 0, 0], [32, 64, 128] * 5)


def test_a_recorded_view_is_no_reference_of_itself():
    with pytest.raises(ValueError, match="whose references would be the true images"):
        FuseConfig(pairs=PairsConfig(stops=(10,)))


def test_every_second_set_has_the_lidar_of_other_steps_and_the_lidar_may_be_what_is_repaired(log, stubs, monkeypatch):
    lags = []

    def make_conditions(names, recording, frames, views, model, lags_of_views):
        lags.append(lags_of_views)
        return {"lidar": np.full((len(frames), 3, 4, 5), 100 + lags_of_views[0], np.uint8)} if names else {}

    monkeypatch.setattr(held_out_views, "make_conditions", make_conditions)
    config, batches = FuseConfig(pairs=PairsConfig(lag=4)), TrainBatches(Recording(log, log.frames[::2]))
    fixer = FIXERS["nearest"].replace(conditions=("lidar",))
    exact, late = view_triples(model_of(1), batches, log.frames[1:4], fixer, config)
    assert lags == [[0, 0, 0], [4, -4, 4]]
    assert exact.conditions["lidar"].max() == 100 and late.conditions["lidar"].max() == 104
    np.testing.assert_array_equal(exact.renders, np.full((3, 3, 4, 3), 64))
    (seen, _) = view_triples(model_of(1), batches, log.frames[1:4], fixer.replace(source="lidar"), config)
    assert (seen.renders == 100).all() and np.isinf(seen.blend_eigs).all() and exact.blend_eigs is None
    lags.clear()
    assert len(view_triples(model_of(1), batches, log.frames[1:4], FIXERS["nearest"], config)) == 1
