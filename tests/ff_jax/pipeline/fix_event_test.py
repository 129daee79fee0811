"""The fix event: the views of its clips, and the images that it stores."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.recording import Recording
from ff_jax.data.scene_data import select
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.eig import EigConfig
from ff_jax.eig.scene_posterior import EigRender, ScenePosterior
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.identity import make_identity
from ff_jax.fixers.skill import EDGES, Skill
from ff_jax.pipeline import fix_event
from ff_jax.pipeline.fix_event import FixEvent, split_paths
from ff_jax.scene import SceneModel
from ff_jax.train.batch import as_float
from ff_jax.train.batches import TrainBatches
from ff_jax.train.pseudo_views import init_pseudo_views

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def log():
    config = StreetConfig(num_frames=2, moving=False)
    return street_log(1, config, 40, 24, ("front", "front_left"), lidar=None)


def centers_of(views):
    return np.stack([np.asarray(view.camera.world_from_camera)[:3, 3] for view in views])


def event_of(batches, fixer, shifts):
    """Return a fix event of a fixer with full skill on a log without measured points."""
    return FixEvent(
        model=object.__new__(SceneModel),
        posterior=object.__new__(ScenePosterior),
        batches=batches,
        fixer=fixer,
        skill=Skill(jnp.ones(len(EDGES) + 1), jnp.ones(())),
        points=None,
        shifts=shifts,
        config=EigConfig(),
    )


def test_a_video_has_one_camera(log):
    recording = Recording(log, log.frames)
    assert split_paths(recording, 1, by_camera=False) == [[0, 1, 2, 3]]
    assert split_paths(recording, 2, by_camera=False) == [[0, 2]]
    assert split_paths(recording, 1, by_camera=True) == [[0, 2], [1, 3]]


def test_a_camera_that_looks_sideways_gives_no_pseudo_views_if_there_are_others(log):
    turn = np.array([[0.0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])  # looks to the right
    front, other = select(log, cameras=("front",)).frames, select(log, cameras=("front_left",)).frames
    aside = tuple(replace(f, world_from_camera=g.world_from_camera @ turn) for f, g in zip(other, front, strict=True))
    both = Recording(replace(log, frames=(*front, *aside)), (*front, *aside))
    assert split_paths(both, 1, by_camera=False) == [[0, 1]]
    alone = Recording(replace(log, frames=aside), aside)
    assert split_paths(alone, 1, by_camera=False) == [[0, 1]]


def test_context_frames_are_passed_to_the_fixer_and_not_stored(log, monkeypatch):
    """Renders are black with an EIG of 1; the fixer copies its first frame to all frames."""
    front = select(log, cameras=("front",))
    batches, centers = TrainBatches(Recording(front, front.frames)), []

    def render_clip(model, posterior, views):
        centers.append(centers_of(views))
        eig = jnp.ones((len(views), 24, 40))
        return EigRender(jnp.zeros((*eig.shape, 3)), eig, eig)

    def copy_first(config, params, key, frames, eig, references):
        return jnp.broadcast_to(frames[:1] + eig[:1, ..., None], frames.shape)

    monkeypatch.setattr(fix_event, "render_clip", render_clip)
    fixer = Fixer({}, "first", copy_first, chunk=3, overlap=1, num_context_frames=2)
    event = event_of(batches, fixer, (2.0, -2.0))
    views = fix_event.add_pseudo_views(jax.random.key(0), init_pseudo_views(4, 24, 40), event)
    assert int(views.filled) == 4 and [len(clip) for clip in centers] == [4, 4]
    image = as_float(batches.batch(0).image)
    np.testing.assert_allclose(views.images, np.broadcast_to(image, (4, 24, 40, 3)), atol=1e-6)
    for clip, shift in zip(centers, event.shifts, strict=True):
        offsets = np.linalg.norm(clip[:3] - front.frames[0].world_from_camera[:3, 3], axis=1)
        np.testing.assert_allclose(offsets, [0.0, abs(shift) / 2, abs(shift)], atol=1e-4)
    np.testing.assert_array_equal(views.times, [frame.time for frame in front.frames] * 2)


def test_padding_is_not_trained_on(log, monkeypatch):
    """The images of one camera are four rows lower than those of the other."""
    frames = tuple(
        replace(f, height=20, masks={}, image=Source("low", lambda: np.zeros((20, 40, 3), np.float32)))
        if f.camera == "front"
        else f
        for f in log.frames
    )
    low = replace(log, frames=frames)
    batches = TrainBatches(Recording(low, low.frames))
    assert all(batches.batch(i).image.shape == (24, 40, 3) for i in range(4))
    eig = jnp.ones((4, 24, 40))
    views = [batches.batch(i).view for i in range(4)]
    repaired = fix_event.Repair(list(low.frames), views, EigRender(eig[..., None], eig, eig), eig, eig)
    event = event_of(batches, make_identity(), (1.0,))
    weights = np.asarray(fix_event.pseudo_clip(repaired, event, low.frames).weights)
    for i, frame in enumerate(low.frames):
        assert (weights[i, :20] > 0).all() and (weights[i, 20:] > 0).all() == (frame.camera == "front_left")
        assert not np.asarray(batches.batch(i).weight)[20:].any() or frame.camera == "front_left"
