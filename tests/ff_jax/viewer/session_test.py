"""Images of a session against the functions of the library; runs that train while they are viewed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax import eig
from ff_jax.eig.scene_posterior import ScenePosterior, render_with_eig
from ff_jax.pipeline.fuse import FUSED, RECONSTRUCTION
from ff_jax.scene import edit
from ff_jax.viewer import (
    LAYERS,
    ActorEdits,
    FrameRateController,
    RunReader,
    Scales,
    Session,
    ViewerState,
    measure_frame_rate,
    pose_at,
    recorded_path,
    view_at,
)
from ff_jax.viewer.layers import EIG
from ff_jax.viewer.session import apply_edits, side_by_side
from tests.ff_jax.viewer.tiny_run import SIZE, difference, make_log, make_reader, write
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run that has only the reconstruction."""
    folder = tmp_path_factory.mktemp("run")
    reader, state, capacity = make_reader(folder, make_log(folder))
    state = write(folder, "recon", 20, state, capacity)
    return reader, state, capacity


@pytest.fixture(scope="module")
def session(made):
    reader, state, capacity = made
    session = Session(reader)
    assert tuple(session.versions) == (RECONSTRUCTION,) and reader.is_training()
    write(reader.workdir, "baseline", 60, state, capacity, 0.1)
    write(reader.workdir, "fused", 40, state, capacity, 0.4)
    assert session.refresh() == (RECONSTRUCTION, FUSED) and session.refresh() == ()
    return session


@pytest.fixture(scope="module")
def posterior(session):
    """The posterior without any view: a real one would take a minute to compile."""
    gaussians = session.versions[FUSED].model.scene.params.gaussians
    factors = eig.posterior(eig.init_precision(gaussians), eig.Priors(), gaussians, structure="diag")
    return ScenePosterior(factors, jnp.float32(0.1), jnp.zeros((1, *SIZE[::-1])))


@pytest.fixture
def view(session):
    rng = seeded_rng()
    path = recorded_path(session.reader.recording)
    time, shift = float(rng.uniform(path.times[0], path.times[-1])), float(rng.uniform(-2, 2))
    return view_at(path, pose_at(path, time, shift), time, path.fov, path.aspect, SIZE)


def test_reading_does_not_change_the_folder_of_a_run(made):
    """A checkpoint that training is writing must survive a read of the one beside it."""
    reader, *_ = made
    folder = reader.workdir / "recon" / "checkpoints"
    unfinished = folder / "30.orbax-checkpoint-tmp-1"
    unfinished.mkdir()
    (folder / "40").mkdir()  # complete, but its manifest is not written yet
    newest = reader.newest_checkpoints()[RECONSTRUCTION]._replace(folder=folder, step=20)
    before = sorted(folder.rglob("*"))
    assert reader.load(newest).checkpoint.step == 20
    assert sorted(folder.rglob("*")) == before
    unfinished.rmdir()
    (folder / "40").rmdir()


def test_newer_checkpoints_are_loaded(session, made, view):
    reader, state, capacity = made
    old = session.render(ViewerState(), view)
    write(reader.workdir, "fused", 50, state, capacity, 0.8)
    assert session.refresh() == (FUSED,) and session.versions[FUSED].checkpoint.step == 50
    assert difference(old, session.render(ViewerState(), view)) > 3


def test_layers_show_colors_and_eig_of_the_library(session, posterior, view, monkeypatch):
    monkeypatch.setattr("ff_jax.viewer.session.fit_posterior", lambda *_: posterior)
    assert session.is_ready(ViewerState()) and not session.is_ready(ViewerState(layer=EIG))
    expected = render_with_eig(session.versions[FUSED].model, posterior, view)
    nats = session.eig_map(ViewerState(), view)
    np.testing.assert_array_equal(nats, expected.eig)
    assert session.is_ready(ViewerState(layer=EIG))
    assert not session.is_ready(ViewerState(layer=EIG, version=RECONSTRUCTION))
    image = session.render(ViewerState(), view).astype(float)
    assert np.abs(image - np.clip(np.asarray(expected.rgb), 0, 1) * 255).max() < 1
    scales = Scales(eig=float(nats.max()), depth=30.0, tau=float(np.median(nats)))
    images = [session.render(ViewerState(layer=layer, scales=scales), view) for layer in LAYERS]
    for first in range(len(LAYERS)):
        for second in range(first):
            assert difference(images[first], images[second]) > 1, (LAYERS[first], LAYERS[second])


def test_split_image_joins_both_versions(session, view):
    before, after = (session.render(ViewerState(version=name), view) for name in (RECONSTRUCTION, FUSED))
    both = session.render(ViewerState(split=0.25), view)
    np.testing.assert_array_equal(both[:, :11], before[:, :11])
    np.testing.assert_array_equal(both[:, 13:], after[:, 13:])
    np.testing.assert_array_equal(side_by_side(before, after, 0.0), after)
    np.testing.assert_array_equal(side_by_side(before, after, 1.0), before)


def test_actors_are_hidden_and_moved(session, view):
    scene = session.versions[FUSED].model.scene
    path = recorded_path(session.reader.recording)
    front = view_at(path, pose_at(path, 0.1), 0.1, path.fov, path.aspect, SIZE)
    plain = session.render(ViewerState(), front)
    for edits in (ActorEdits(hidden=(0,)), ActorEdits(moves=((0, 2.0, 1.0, 0.5, 90.0),))):
        assert difference(plain, session.render(ViewerState(edits=edits), front)) > 0.1
    both = apply_edits(scene, ActorEdits((0,), ((0, 2.0, 1.0, 0.5, 90.0),)))
    expected = edit.remove(edit.move(scene, 0, np.array([2.0, 1.0, 0.5]), np.pi / 2), 0)
    for a, b in zip(jax.tree.leaves(both), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="invalid actor=99"):
        session.render(ViewerState(edits=ActorEdits(hidden=(99,))), view)


def test_capacity_grows_when_a_view_needs_more(session, view):
    expected = session.render(ViewerState(), view)
    settings = session.versions[FUSED].model.settings
    session._settings[SIZE] = dataclasses.replace(settings, capacity=64)
    np.testing.assert_array_equal(session.render(ViewerState(), view), expected)
    assert session._settings[SIZE].capacity > 64


def test_a_missing_version_is_an_error(made, view):
    reader, *_ = made
    session = Session(RunReader(reader.workdir, reader.config, reader.recording.log))
    session.versions.pop(FUSED)
    with pytest.raises(ValueError, match=f"no version '{FUSED}' yet; it has {RECONSTRUCTION}"):
        session.render(ViewerState(), view)


def test_runs_without_fusing_are_read_and_other_shapes_are_refused(made, tmp_path):
    reader, *_ = made
    _, state, capacity = make_reader(tmp_path, reader.config, fusing=False)
    write(tmp_path, "recon", 10, state, capacity)
    again = RunReader(tmp_path, reader.config, reader.recording.log)
    assert tuple(Session(again).versions) == (RECONSTRUCTION,)
    recon = dataclasses.replace(reader.config.recon, budget=170)
    _, larger, _ = make_reader(tmp_path / "larger", dataclasses.replace(reader.config, recon=recon), fusing=False)
    write(tmp_path, "recon", 20, larger, capacity)
    with pytest.raises(ValueError, match="does not fit"):
        again.load(again.newest_checkpoints()[RECONSTRUCTION])


def test_images_are_halved_only_while_moving_and_slow():
    controller = FrameRateController(target_fps=10)
    assert controller.divisor(is_moving=True) == 1
    controller.record(0.3)
    assert controller.divisor(is_moving=True) == 2 and controller.divisor(is_moving=False) == 1
    controller.record(0.05)  # the first one included a compilation
    assert controller.divisor(is_moving=True) == 1


def test_frame_rate_renders_every_view_after_a_warm_up(session, view, monkeypatch):
    calls = []
    monkeypatch.setattr(session, "render", lambda *call: calls.append(call))
    assert measure_frame_rate(session, ViewerState(), [view] * 5) > 0 and len(calls) == 7
