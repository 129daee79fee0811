"""Pictures against the library's own functions; runs that grow while they are looked at."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax import eig
from ff_jax.eig.scene_posterior import Knowledge, look
from ff_jax.scene import edit
from ff_jax.viewer import (
    AFTER,
    BEFORE,
    LAYERS,
    Edits,
    Look,
    Pace,
    RunReader,
    Scales,
    Session,
    frame_rate,
    pose_at,
    recorded_path,
    view_at,
)
from ff_jax.viewer.layers import EIG
from ff_jax.viewer.session import edited, side_by_side
from tests.ff_jax.viewer.tiny_run import SIZE, differ, make_log, make_reader, write


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of which only the reconstruction is there."""
    folder = tmp_path_factory.mktemp("run")
    reader, run, capacity = make_reader(folder, make_log(folder))
    run = write(folder, "recon", 20, run, capacity)
    return reader, run, capacity


@pytest.fixture(scope="module")
def session(made):
    reader, run, capacity = made
    session = Session(reader)
    assert tuple(session.versions) == (BEFORE,) and reader.training()
    write(reader.workdir, "baseline", 60, run, capacity, 0.1)
    write(reader.workdir, "fused", 40, run, capacity, 0.4)
    assert session.refresh() == (BEFORE, AFTER) and session.refresh() == ()
    return session


@pytest.fixture(scope="module")
def known(session):
    """What is known about the scene before any view was seen: learning would take a minute to compile."""
    gaussians = session.versions[AFTER].scene.params.gaussians
    posterior = eig.posterior(eig.init_precision(gaussians), eig.Priors(), gaussians, structure="diag")
    return Knowledge(posterior, jnp.float32(0.1), jnp.zeros((1, *SIZE[::-1])))


@pytest.fixture
def view(session):
    rng = np.random.default_rng()
    path = recorded_path(session.reader.log, session.reader.feed)
    time, shift = float(rng.uniform(path.times[0], path.times[-1])), float(rng.uniform(-2, 2))
    return view_at(path, pose_at(path, time, shift), time, path.fov, path.aspect, SIZE)


def test_the_folder_of_a_run_is_left_alone(made):
    """What training is just writing beside a checkpoint must survive that it is read."""
    reader, *_ = made
    folder = reader.workdir / "recon" / "checkpoints"
    unfinished = folder / "30.orbax-checkpoint-tmp-1"
    unfinished.mkdir()
    (folder / "40").mkdir()  # written, but its checksums are not
    newest = reader.newest()[BEFORE]._replace(folder=folder, step=20)
    before = sorted(folder.rglob("*"))
    assert reader.load(newest).newest.step == 20
    assert sorted(folder.rglob("*")) == before
    unfinished.rmdir()
    (folder / "40").rmdir()


def test_newer_checkpoints_are_noticed(session, made, view):
    reader, run, capacity = made
    old = session.picture(Look(), view)
    write(reader.workdir, "fused", 50, run, capacity, 0.8)
    assert session.refresh() == (AFTER,) and session.versions[AFTER].newest.step == 50
    assert differ(old, session.picture(Look(), view)) > 3


def test_layers_show_the_colours_and_the_gain_of_the_library(session, known, view, monkeypatch):
    monkeypatch.setattr("ff_jax.viewer.session.learn", lambda *_: known)
    assert session.knows(Look()) and not session.knows(Look(layer=EIG))
    loaded = session.versions[AFTER]
    clip = look(loaded.scene, known, view, loaded.settings, jnp.int32(loaded.degree))
    gain = session.gain(Look(), view)
    np.testing.assert_array_equal(gain, clip.eig)
    assert session.knows(Look(layer=EIG)) and not session.knows(Look(layer=EIG, version=BEFORE))
    picture = session.picture(Look(), view).astype(float)
    assert np.abs(picture - np.clip(np.asarray(clip.rgb), 0, 1) * 255).max() < 1
    scales = Scales(eig=float(gain.max()), depth=30.0, tau=float(np.median(gain)))
    pictures = [session.picture(Look(layer=layer, scales=scales), view) for layer in LAYERS]
    for first in range(len(LAYERS)):
        for second in range(first):
            assert differ(pictures[first], pictures[second]) > 1, (LAYERS[first], LAYERS[second])


def test_before_and_after_share_a_picture(session, view):
    before, after = (session.picture(Look(version=name), view) for name in (BEFORE, AFTER))
    both = session.picture(Look(split=0.25), view)
    np.testing.assert_array_equal(both[:, :11], before[:, :11])
    np.testing.assert_array_equal(both[:, 13:], after[:, 13:])
    np.testing.assert_array_equal(side_by_side(before, after, 0.0), after)
    np.testing.assert_array_equal(side_by_side(before, after, 1.0), before)


def test_actors_are_hidden_and_moved(session, view):
    scene = session.versions[AFTER].scene
    path = recorded_path(session.reader.log, session.reader.feed)
    front = view_at(path, pose_at(path, 0.1), 0.1, path.fov, path.aspect, SIZE)
    plain = session.picture(Look(), front)
    for edits in (Edits(hidden=(0,)), Edits(moved=((0, 2.0, 1.0, 0.5, 90.0),))):
        assert differ(plain, session.picture(Look(edits=edits), front)) > 0.1
    both = edited(scene, Edits((0,), ((0, 2.0, 1.0, 0.5, 90.0),)))
    wanted = edit.remove(edit.move(scene, 0, np.array([2.0, 1.0, 0.5]), np.pi / 2), 0)
    for a, b in zip(jax.tree.leaves(both), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="no actor"):
        session.picture(Look(edits=Edits(hidden=(99,))), view)


def test_capacity_grows_when_a_view_needs_more(session, view):
    wanted = session.picture(Look(), view)
    session._settings[SIZE] = dataclasses.replace(session.versions[AFTER].settings, capacity=64)
    np.testing.assert_array_equal(session.picture(Look(), view), wanted)
    assert session._settings[SIZE].capacity > 64


def test_what_is_not_there_yet_is_said(made, view):
    reader, *_ = made
    session = Session(RunReader(reader.workdir, reader.config, reader.log))
    session.versions.pop(AFTER)
    with pytest.raises(ValueError, match=f"no version '{AFTER}' yet; it has {BEFORE}"):
        session.picture(Look(), view)


def test_runs_without_fusing_are_read_and_others_are_refused(made, tmp_path):
    reader, *_ = made
    _, run, capacity = make_reader(tmp_path, reader.config, fusing=False)
    write(tmp_path, "recon", 10, run, capacity)
    again = RunReader(tmp_path, reader.config, reader.log)
    assert tuple(Session(again).versions) == (BEFORE,)
    for file in (tmp_path / "recon" / "checkpoints" / "10").rglob("manifest.json"):
        file.write_text(file.read_text().replace("float32(190, 3)", "float32(191, 3)"))
    with pytest.raises(ValueError, match="does not fit"):
        again.load(again.newest()[BEFORE])


def test_pictures_are_halved_only_while_moving_and_slow():
    pace = Pace(wanted=10)
    assert pace.divisor(moving=True) == 1
    pace.done(0.3)
    assert pace.divisor(moving=True) == 2 and pace.divisor(moving=False) == 1
    pace.done(0.05)  # the first one had waited for a compilation
    assert pace.divisor(moving=True) == 1


def test_frame_rate_counts_pictures(session, view, monkeypatch):
    drawn = []
    monkeypatch.setattr(session, "picture", lambda *asked: drawn.append(asked))
    assert frame_rate(session, Look(), [view] * 5) > 0 and len(drawn) == 7
