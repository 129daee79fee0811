"""The maps that steer the loop, with signals that are given."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax import eig
from ff_jax.data.loader import load_image
from ff_jax.data.recording import Recording, train_frames
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.eig.config import SignalNames
from ff_jax.eig.scene_posterior import EigRender
from ff_jax.eig.signals import RecordedScene
from ff_jax.pipeline import signals
from ff_jax.pipeline.signals import Signals, check_signals, frame_with_truth, steering, true_error
from ff_jax.train.batches import TrainBatches, shifted_frame
from ff_jax.train.shift_schedule import ShiftSchedule
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recording():
    config = StreetConfig(num_frames=2, moving=False)
    log = street_log(1, config, 40, 24, ("front",), lidar=None, test_shifts=(1.0, 2.0))
    return Recording(log, train_frames(log))


@pytest.fixture
def clip():
    rng = seeded_rng()
    rgb, values = rng.random((2, 24, 40, 3), np.float32), rng.exponential(size=(2, 24, 40)).astype(np.float32)
    return EigRender(jnp.asarray(rgb), jnp.asarray(values), jnp.asarray(values))


def signals_of(names, recording):
    recorded = RecordedScene(None, TrainBatches(recording), eig.Priors(), None)
    return Signals(SignalNames(*names), recorded, {})


def test_exact_eig_steers_unchanged_and_no_signal_selects_every_pixel(recording, clip):
    maps = steering(signals_of(("exact", "exact", "exact"), recording), clip, [], [])
    assert maps.guidance is clip.eig and maps.blend is None and maps.weight is clip.eig
    maps = steering(signals_of(("exact", "none", "none"), recording), clip, [], [])
    assert maps.guidance is clip.eig
    for values in (maps.blend, maps.weight):
        np.testing.assert_array_equal(eig.eig_weight(values, 0.5), np.ones_like(clip.eig))
    maps = steering(signals_of(("none", "exact", "none"), recording), clip, [], [])
    assert np.isfinite(np.asarray(maps.guidance)).all() and maps.blend is clip.eig  # the network is blind


def test_every_use_has_its_own_signal_on_the_scale_of_eig(recording, clip, monkeypatch):
    rng = seeded_rng()
    raw = {name: jnp.asarray(rng.normal(size=clip.eig.shape), jnp.float32) for name in ("trace", "opacity", "distance")}
    monkeypatch.setattr(signals, "raw_signal", lambda name, *_: raw[name])
    maps = steering(signals_of(raw, recording), clip, [], [])
    for values, signal in zip(maps, raw.values(), strict=True):
        np.testing.assert_array_equal(np.sort(values, None), np.sort(clip.eig, None))
        np.testing.assert_array_equal(np.argsort(values, None), np.argsort(signal, None))


def test_the_true_error_is_that_of_the_frame_at_the_same_place(recording, clip):
    near = [shifted_frame(frame, recording.log, 2.0) for frame in recording.frames]
    truth = [load_image(frame_with_truth(frame, recording)) for frame in near]
    expected = np.abs(np.asarray(clip.rgb) - truth).mean(-1)
    np.testing.assert_allclose(true_error(clip, near, recording), expected, atol=1e-6)
    own = frame_with_truth(recording.frames[1], recording)
    assert own is recording.frames[1]
    # Half of the clip is where the log has no image: it keeps exact EIG.
    halfway = [shifted_frame(near[0], recording.log, -0.5), near[1]]
    maps = steering(signals_of(["error"] * 3, recording), clip, [], halfway)
    np.testing.assert_array_equal(maps.weight[0], clip.eig[0])
    np.testing.assert_array_equal(np.argsort(maps.weight[1], None), np.argsort(expected[1], None))


def test_the_oracle_needs_true_images_at_every_shift(recording):
    schedule = ShiftSchedule(start=3, every=2, meters=1.0, largest=2.0, sides=(1,))
    check_signals(SignalNames("error", "exact", "exact"), recording, schedule)
    for changed in ({"sides": (1, -1)}, {"largest": 3.0}):
        wider = dataclasses.replace(schedule, **changed)
        check_signals(SignalNames("exact", "trace", "none"), recording, wider)
        with pytest.raises(ValueError, match=r"'error' needs true images, and log .* has none at "):
            check_signals(SignalNames("exact", "exact", "error"), recording, wider)
