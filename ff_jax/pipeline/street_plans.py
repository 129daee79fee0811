"""Which views of a street are recorded and which are rendered: single ones, or clips of frames in a row.

Of a driving log, what is rendered are recorded frames that the reconstruction does not see: those of another camera, or
of time steps that are held out.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ff_jax.data.scene_data import Frame, SceneData

RECORDED = 12  # views that a street is reconstructed from
_THIN = (1, 2, 3)
_STEPS = ((200, 300, 400, 500), (600, 900, 1300))
_SHIFTS = (-3.0, 6.0)  # metres: where a street is free of things
_VIEWS, _ON_PATH = 24, 6
_SLIDES, _DRIVES = 2, 4  # clips of a street; the first of the drives stays on the path


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the pairs of one street are made.

    Attributes:
        first: time index of the first recorded view.
        thin: every how many time steps one is recorded; `RECORDED` are.
        steps: training steps after which views are rendered, in order.
        views: time index and shift (metres, left positive) of every view.
    """

    first: int
    thin: int
    steps: tuple[int, ...]
    views: tuple[tuple[int, float], ...]

    @property
    def recorded(self) -> tuple[int, ...]:
        """Return the time indices of the recorded views."""
        return tuple(range(self.first, self.first + RECORDED * self.thin, self.thin))


def training_plan(seed: int, frames: int) -> Plan:
    """Return a random plan for a street of `frames` time steps: views on the path and -3 to 6 m beside it.

    Raises:
        ValueError: the street has too few time steps to record `RECORDED` of.
    """
    rng = np.random.default_rng([seed, 77])
    first, thin = _recording(rng, frames)
    times = first + rng.integers(RECORDED * thin, size=_VIEWS)
    shifts = np.where(np.arange(_VIEWS) < _ON_PATH, 0.0, rng.uniform(*_SHIFTS, _VIEWS).round(2))
    if thin > 1:  # what is on the path is held out
        times[:_ON_PATH] += (times[:_ON_PATH] - first) % thin == 0
    steps = tuple(int(rng.choice(few)) for few in _STEPS)
    return Plan(first, thin, steps, tuple((int(t), float(s)) for t, s in zip(times, shifts, strict=True)))


def clip_plan(seed: int, frames: int, length: int) -> Plan:
    """Return a random plan whose views are clips of `length` frames, one after the other.

    Some slide at one recorded time from the path to a shift of -3 to 6 m, so that their first frame is a recorded
    image; the others drive at such a shift, the first of them on the path.

    Raises:
        ValueError: the street has too few time steps for a recording, or the recording has for a clip.
    """
    rng = np.random.default_rng([seed, 78])
    first, thin = _recording(rng, frames)
    room = RECORDED * thin - length
    if length < 2 or room < 0:
        raise ValueError(f"clips of {length} frames must have 2 at least, and at most the {RECORDED} recorded ones.")
    views: list[tuple[int, float]] = []
    for _ in range(_SLIDES):
        views += slide(first + thin * int(rng.integers(RECORDED)), float(rng.uniform(*_SHIFTS)), length)
    for number in range(_DRIVES):
        start, shift = first + int(rng.integers(room + 1)), round(float(rng.uniform(*_SHIFTS)), 2)
        views += [(start + k, shift if number else 0.0) for k in range(length)]
    return Plan(first, thin, tuple(int(rng.choice(few)) for few in _STEPS), tuple(views))


def slide(time: int, shift: float, length: int) -> list[tuple[int, float]]:
    """Return views (time index, metres to the left) that slide from the path to `shift` at one time."""
    return [(time, round(float(part), 2)) for part in np.linspace(0.0, shift, length)]


def _recording(rng: np.random.Generator, frames: int) -> tuple[int, int]:
    """Return `Plan.first` and `Plan.thin` of a random recording.

    Raises:
        ValueError: the street has too few time steps to record `RECORDED` of.
    """
    thins = [thin for thin in _THIN if RECORDED * thin <= frames]
    if not thins:
        raise ValueError(f"frames={frames} of a street are too few: {RECORDED} are recorded.")
    thin = int(rng.choice(thins, p=None if len(thins) < len(_THIN) else (0.5, 0.3, 0.2)))
    return int(rng.integers(frames - RECORDED * thin + 1)), thin


def study_plan(shifts: Sequence[float], count: int, steps: int) -> Plan:
    """Return the plan by which fixers are judged: all time steps recorded, `count` views at every shift."""
    times = np.linspace(0, RECORDED - 1, count).round().astype(int)
    return Plan(0, 1, (steps,), tuple((int(t), float(shift)) for shift in shifts for t in times))


def study_clips(shifts: Sequence[float], lead: int, length: int, steps: int) -> Plan:
    """Return the plan by which video fixers are judged: all time steps recorded, one clip at every shift.

    A clip slides to its shift over `lead` frames at the first time step, the first of them the recorded image, and
    then drives `length` frames.
    """
    views: list[tuple[int, float]] = []
    for shift in shifts:
        views += slide(0, shift, lead + 1)[:lead] + [(time, float(shift)) for time in range(length)]
    return Plan(0, 1, (steps,), tuple(views))


def log_plan(
    log: SceneData, sources: tuple[str, ...], target: str, length: int
) -> tuple[tuple[Frame, ...], list[Frame]]:
    """Return which frames of a log are recorded, and which are rendered as clips of `length` frames.

    With a target that is no source, every frame of that camera is rendered (nothing of it is recorded). Otherwise,
    of every two stretches of `length` frames of the target the second is held out: recorded are the frames of the
    sources at all other times.

    Args:
        log: the driving log.
        sources: cameras that record.
        target: camera whose images are the truth.
        length: frames per clip; what is left over is not rendered.

    Raises:
        ValueError: a camera is unknown, or the target has too few frames.
    """
    unknown = sorted({*sources, target} - set(log.cameras))
    if unknown:
        raise ValueError(f"log {log.name!r} has no camera {unknown[0]!r}; it has {', '.join(log.cameras)}.")
    seen = sorted((frame for frame in log.frames if frame.camera == target), key=lambda frame: frame.time_index)
    cuts = [seen[start : start + length] for start in range(0, len(seen) - length + 1, length)]
    cuts = cuts[1::2] if target in sources else cuts
    if not cuts:
        raise ValueError(f"camera {target!r} has {len(seen)} frames, too few for clips of {length}: make them shorter.")
    held = {frame.time_index for cut in cuts for frame in cut} if target in sources else set()
    recorded = tuple(f for f in log.frames if f.camera in sources and f.time_index not in held)
    return recorded, [frame for cut in cuts for frame in cut]
