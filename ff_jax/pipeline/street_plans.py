"""Plans of fixer pairs: which views of a street are recorded, and which are rendered, as single views or as clips.

From a driving log, recorded frames that are not used for the reconstruction are rendered: those of another camera, or
of held-out time steps.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ff_jax.data.scene_data import Frame, SceneData

RECORDED = 12  # number of views that a street is reconstructed from
_STRIDES = (1, 2, 3)
_STEPS = ((200, 300, 400, 500), (600, 900, 1300))
_SHIFTS = (-3.0, 6.0)  # meters: the range without obstacles
_VIEWS, _ON_PATH = 24, 6
_SLIDES, _DRIVES = 2, 4  # number of clips; the first of the drives is on the path


@dataclasses.dataclass(frozen=True)
class StreetPlan:
    """The recorded and the rendered views of one street.

    Attributes:
        first: time index of the first recorded view.
        stride: time steps from one recorded view to the next; their number is `RECORDED`.
        steps: training steps after which views are rendered, in order.
        views: time index and shift (meters, left positive) of every view.
    """

    first: int
    stride: int
    steps: tuple[int, ...]
    views: tuple[tuple[int, float], ...]

    @property
    def recorded(self) -> tuple[int, ...]:
        """Return the time indices of the recorded views."""
        return tuple(range(self.first, self.first + RECORDED * self.stride, self.stride))


def training_plan(seed: int, frames: int) -> StreetPlan:
    """Draw a random plan for a street of `frames` time steps, with views on the path and -3 to 6 m beside it.

    Raises:
        ValueError: the street has fewer than `RECORDED` time steps.
    """
    rng = np.random.default_rng([seed, 77])
    first, stride = _recording(rng, frames)
    times = first + rng.integers(RECORDED * stride, size=_VIEWS)
    shifts = np.where(np.arange(_VIEWS) < _ON_PATH, 0.0, rng.uniform(*_SHIFTS, _VIEWS).round(2))
    if stride > 1:  # views on the path are held out
        times[:_ON_PATH] += (times[:_ON_PATH] - first) % stride == 0
    steps = tuple(int(rng.choice(options)) for options in _STEPS)
    return StreetPlan(first, stride, steps, tuple((int(t), float(s)) for t, s in zip(times, shifts, strict=True)))


def clip_plan(seed: int, frames: int, length: int) -> StreetPlan:
    """Draw a random plan whose views are clips of `length` frames, one after the other.

    Some clips slide at one recorded time from the path to a shift of -3 to 6 m: their first frame is a recorded image.
    The others drive at such a shift; the first of them drives on the path.

    Raises:
        ValueError: the street has too few time steps for a recording, or the recording has too few for a clip.
    """
    rng = np.random.default_rng([seed, 78])
    first, stride = _recording(rng, frames)
    last_start = RECORDED * stride - length
    if length < 2 or last_start < 0:
        raise ValueError(f"invalid clip {length=}: expected 2 to {RECORDED} frames, the number of recorded views.")
    views: list[tuple[int, float]] = []
    for _ in range(_SLIDES):
        views += slide(first + stride * int(rng.integers(RECORDED)), float(rng.uniform(*_SHIFTS)), length)
    for number in range(_DRIVES):
        start, shift = first + int(rng.integers(last_start + 1)), round(float(rng.uniform(*_SHIFTS)), 2)
        views += [(start + k, shift if number else 0.0) for k in range(length)]
    return StreetPlan(first, stride, tuple(int(rng.choice(options)) for options in _STEPS), tuple(views))


def slide(time: int, shift: float, length: int) -> list[tuple[int, float]]:
    """List views (time index, meters to the left) that slide from the path to `shift` at one time."""
    return [(time, round(float(part), 2)) for part in np.linspace(0.0, shift, length)]


def _recording(rng: np.random.Generator, frames: int) -> tuple[int, int]:
    """Draw `StreetPlan.first` and `StreetPlan.stride` of a random recording.

    Raises:
        ValueError: the street has fewer than `RECORDED` time steps.
    """
    strides = [stride for stride in _STRIDES if RECORDED * stride <= frames]
    if not strides:
        raise ValueError(f"invalid {frames=} of a street: expected at least {RECORDED}, the number of recorded views.")
    stride = int(rng.choice(strides, p=None if len(strides) < len(_STRIDES) else (0.5, 0.3, 0.2)))
    return int(rng.integers(frames - RECORDED * stride + 1)), stride


def study_plan(shifts: Sequence[float], count: int, steps: int) -> StreetPlan:
    """Make the plan of the fixer study: all time steps are recorded, and every shift has `count` views."""
    times = np.linspace(0, RECORDED - 1, count).round().astype(int)
    return StreetPlan(0, 1, (steps,), tuple((int(t), float(shift)) for shift in shifts for t in times))


def study_clips(shifts: Sequence[float], num_context_frames: int, length: int, steps: int) -> StreetPlan:
    """Make the plan of the study of video fixers: all time steps are recorded, and every shift has one clip.

    A clip slides to its shift over `num_context_frames` frames at the first time step, the first of which is the
    recorded image, and then drives `length` frames.
    """
    views: list[tuple[int, float]] = []
    for shift in shifts:
        views += slide(0, shift, num_context_frames + 1)[:-1] + [(time, float(shift)) for time in range(length)]
    return StreetPlan(0, 1, (steps,), tuple(views))


def log_plan(
    log: SceneData, sources: tuple[str, ...], target: str, length: int
) -> tuple[tuple[Frame, ...], list[Frame]]:
    """Split the frames of a log into recorded ones, and ones that are rendered as clips of `length` frames.

    If the target is not a source, every frame of that camera is rendered, and none is recorded. Otherwise the frames of
    the target are split into clips and every second clip is held out; the frames of the sources at all other times are
    recorded.

    Args:
        log: the driving log.
        sources: cameras that record.
        target: camera whose images are the truth.
        length: frames per clip; the remainder is not rendered.

    Raises:
        ValueError: a camera is unknown, or the target has too few frames.
    """
    unknown = sorted({*sources, target} - set(log.cameras))
    if unknown:
        raise ValueError(f"log {log.name!r} has no camera {unknown[0]!r}: expected one of {', '.join(log.cameras)}.")
    own = sorted((frame for frame in log.frames if frame.camera == target), key=lambda frame: frame.time_index)
    clips = [own[start : start + length] for start in range(0, len(own) - length + 1, length)]
    clips = clips[1::2] if target in sources else clips
    if not clips:
        raise ValueError(f"camera {target!r} has {len(own)} frames, too few for clips of {length}: make them shorter.")
    held_out = {frame.time_index for clip in clips for frame in clip} if target in sources else set()
    recorded = tuple(f for f in log.frames if f.camera in sources and f.time_index not in held_out)
    return recorded, [frame for clip in clips for frame in clip]
