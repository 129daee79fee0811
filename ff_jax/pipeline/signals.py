"""The maps that steer the loop: one signal each for guidance, blending and loss weight (`EigConfig.signals`).

To the signals of a scene and its recorded views (`ff_jax.eig.signals`) come those that need more:

warp_ssim  1 - SSIM between the render and the nearest recorded image, warped with the rendered depth; 1 where that
           image does not see the point (in the manner of DriveX, arXiv 2412.01717)
error      the absolute error of the render, mean over the channels: an oracle, where the log has the true image
none       no signal: a network sees no map, the whole repair replaces the render, all pixels have the same weight

All but "exact" and "none" are brought to the scale of exact EIG (`signals.match_scale`), clip by clip.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, PyTree

from ff_jax.data.loader import load_image
from ff_jax.data.padding import padded
from ff_jax.data.recording import Recording
from ff_jax.data.scene_data import Frame
from ff_jax.eig.config import NONE, SignalNames
from ff_jax.eig.scene_posterior import EigRender
from ff_jax.eig.signals import SCENE_SIGNALS, RecordedScene, match_scale
from ff_jax.fixers.reprojection import AlignConfig, Views, warp
from ff_jax.pipeline.references import enlarged, inputs_of_alignment
from ff_jax.runtime.settings import MAX_STEPS
from ff_jax.scene import View
from ff_jax.train.batches import shifted_frame
from ff_jax.train.shift_schedule import ShiftSchedule, shifts_until
from kernels import ssim

EXACT = "exact"
_SAME_POSE = 1e-3  # largest difference between entries of two poses that are the same (meters)


class Steering(NamedTuple):
    """The maps of a clip that steer a fix event, in nats or matched to them."""

    guidance: Float[Array, "T H W"]  # input of the fixer's network
    blend: Float[Array, "T H W"] | None  # by which its repair is blended; None: `guidance`
    weight: Float[Array, "T H W"]  # by which the pixels of pseudo-views are weighted


class Signals(NamedTuple):
    """The signals of a scene, ready to make maps."""

    names: SignalNames
    recorded: RecordedScene
    statistics: Mapping[str, PyTree]  # result of `Signal.prepare`, by name


def prepare_signals(names: SignalNames, recorded: RecordedScene) -> Signals:
    """Collect what the signals of a run need from the recorded views."""
    return Signals(names, recorded, signal_statistics(names, recorded))


def signal_statistics(names: Iterable[str], recorded: RecordedScene) -> dict[str, PyTree]:
    """Collect what signals need from the recorded views, by name; nothing for exact EIG."""
    used = [name for name in dict.fromkeys(names) if name in SCENE_SIGNALS and name != EXACT]
    return {name: SCENE_SIGNALS[name].prepare(recorded) for name in used}


def steering(signals: Signals, clip: EigRender, views: Sequence[View], frames: Sequence[Frame]) -> Steering:
    """Make the maps that steer a fix event.

    Args:
        signals: of the scene.
        clip: renders of `views` with their exact EIG.
        views: the views.
        frames: of the views; the true error needs their true images.
    """
    names = signals.names
    maps = {name: _on_scale(name, signals, clip, views, frames) for name in dict.fromkeys(names) if name != NONE}
    maps[NONE] = jnp.full_like(clip.eig, jnp.inf)  # any threshold is exceeded: every weight is 1
    guidance = clip.eig if names.guidance == NONE else maps[names.guidance]
    blend = None if names.blend == names.guidance else maps[names.blend]
    return Steering(guidance, blend, maps[names.weight])


def raw_signal(
    name: str, signals: Signals, clip: EigRender, views: Sequence[View], frames: Sequence[Frame]
) -> Float[Array, "T H W"]:
    """Compute the map of a signal in its own unit; NaN where the true error is not known."""
    if name == EXACT:
        return clip.eig
    if name == "warp_ssim":
        return warp_dissimilarity(signals.recorded, clip, views)
    if name == "error":
        return true_error(clip, frames, signals.recorded.batches.recording)
    signal, model = SCENE_SIGNALS[name], enlarged(signals.recorded.model, views)
    return jnp.stack([signal.compute(model, signals.statistics[name], model.prepare(view)) for view in views])


def _on_scale(
    name: str, signals: Signals, clip: EigRender, views: Sequence[View], frames: Sequence[Frame]
) -> Float[Array, "T H W"]:
    """Compute the map of a signal on the scale of exact EIG; frames without a value take exact EIG."""
    if name == EXACT:
        return clip.eig
    raw = raw_signal(name, signals, clip, views, frames)
    known = np.flatnonzero(np.isfinite(np.asarray(raw[:, 0, 0])))
    return clip.eig.at[known].set(match_scale(raw[known], clip.eig[known])) if known.size else clip.eig


def warp_dissimilarity(recorded: RecordedScene, clip: EigRender, views: Sequence[View]) -> Float[Array, "T H W"]:
    """Compute 1 - SSIM between every render and the recorded image nearest in time that sees the view, warped to it."""
    inputs = inputs_of_alignment(clip, views, recorded.posterior, recorded.batches, 0)
    return jnp.stack([_dissimilarity(target, sources) for target, sources, _ in inputs])


@jax.jit
def _dissimilarity(target: Views, sources: Views) -> Float[Array, "H W"]:
    view, nearest = (jax.tree.map(lambda x: x[0], group) for group in (target, sources))
    colors, visibility = warp(view, nearest, AlignConfig())
    is_seen = visibility > 0
    warped = jnp.where(is_seen[..., None], colors, 0.0)
    return jnp.where(is_seen, 1 - ssim(view.rgb, warped), 1.0)


def true_error(clip: EigRender, frames: Sequence[Frame], recording: Recording) -> Float[Array, "T H W"]:
    """Compute the absolute error of every render, mean over the channels; NaN for frames without a true image."""
    nothing = jnp.full(clip.eig.shape[1:], jnp.nan)

    def one(index: int, frame: Frame) -> Float[Array, "H W"]:
        truth = frame_with_truth(frame, recording)
        if truth is None:
            return nothing
        image = load_image(padded(truth, recording.image_size))
        return jnp.mean(jnp.abs(clip.rgb[index] - image), -1)

    return jnp.stack([one(index, frame) for index, frame in enumerate(frames)])


def frame_with_truth(frame: Frame, recording: Recording) -> Frame | None:
    """Find the frame of the log that was taken by the same camera at the same time and place; None if there is none."""
    for other in recording.log.frames:
        is_same = (other.camera, other.time_index) == (frame.camera, frame.time_index)
        if is_same and np.abs(other.world_from_camera - frame.world_from_camera).max() < _SAME_POSE:
            return other
    return None


def check_signals(names: SignalNames, recording: Recording, schedule: ShiftSchedule) -> None:
    """Check that the log has what the signals need.

    Raises:
        ValueError: the true error is a signal, and the log has no true image at a shift of the schedule.
    """
    if "error" not in names:
        return
    for shift in (side * size for size in shifts_until(MAX_STEPS, schedule) for side in schedule.sides):
        moved = [shifted_frame(frame, recording.log, shift) for frame in recording.frames]
        if any(frame_with_truth(frame, recording) is None for frame in moved):
            raise ValueError(
                f"the signal 'error' needs true images, and log {recording.log.name!r} has none at {shift:+g} m: "
                "use the synthetic street with this shift in evaluate.shifts, or another signal."
            )
