"""The schedule of the novel trajectory: its lateral shift, the fix events, and the steps that train on pseudo-views."""

import dataclasses

import numpy as np

from ff_jax.runtime.settings import MAX_STEPS, Settings, bounded

UPDATES, SAMPLINGS = ("replace", "keep"), ("even", "linear")


@dataclasses.dataclass(frozen=True)
class ShiftSchedule(Settings):
    """The progressive schedule (FaithFusion, section 3.3; paper: start 3000, +1 m every 2000 steps).

    Attributes:
        start: step of the first fix event.
        every: steps between events.
        meters: growth of the lateral shift per event.
        largest: shift at which the trajectory stops growing, meters.
        sides: signs of the shifts; +1 is left of travel.
        refresh: after the largest shift is reached, steps between events, counted from `start`; 0 means no events.
        update: what an event makes: "replace" replaces all pseudo-views by those of the largest shifts so far that fit;
            "keep" adds those of its own shift to the older ones, which stay as they are (ReconDreamer's update).
        sampling: how often the pseudo-views of each event are drawn: "even" draws all alike, "linear" those of the
            k-th event with a weight proportional to k (ReconDreamer; only with "keep").
    """

    start: int = bounded(3000, 0, MAX_STEPS)
    every: int = bounded(2000, 1, MAX_STEPS)
    meters: float = bounded(1.0, 1e-3, 100.0)
    largest: float = bounded(6.0, 1e-3, 100.0)
    sides: tuple[int, ...] = bounded((1, -1), -1, 1)
    refresh: int = bounded(6000, 0, MAX_STEPS)
    update: str = "replace"
    sampling: str = "even"

    def __post_init__(self):
        """Check that the first shift is not beyond the largest, and that there is a side."""
        super().__post_init__()
        if self.largest < self.meters:
            raise ValueError(f"largest={self.largest} must be at least meters={self.meters}.")
        if not self.sides or any(side not in (1, -1) for side in self.sides):
            raise ValueError(f"invalid sides={self.sides}: expected 1 (left), -1 (right) or both.")
        for name, options in (("update", UPDATES), ("sampling", SAMPLINGS)):
            if getattr(self, name) not in options:
                raise ValueError(f"invalid {name}={getattr(self, name)!r}: expected one of {', '.join(options)}.")
        if self.update == "keep" and self.refresh:
            raise ValueError(f"refresh={self.refresh} would add the largest shift again: set it to 0 with update=keep.")
        if self.sampling == "linear" and self.update != "keep":
            raise ValueError("sampling='linear' weights the events whose views are kept: set update='keep' with it.")


def shift_at(step: int, schedule: ShiftSchedule) -> float:
    """Compute the size of the lateral shift (meters) at `step`; 0 before the start."""
    if step < schedule.start:
        return 0.0
    return min((1 + (step - schedule.start) // schedule.every) * schedule.meters, schedule.largest)


def shifts_until(step: int, schedule: ShiftSchedule) -> list[float]:
    """List the sizes of the lateral shift (meters) from the first event up to `step`."""
    shifts = [shift_at(schedule.start + number * schedule.every, schedule) for number in range(_num_shifts(schedule))]
    return [shift for shift in shifts if shift <= shift_at(step, schedule)]


def is_event(step: int, schedule: ShiftSchedule) -> bool:
    """Check whether new pseudo-views are made just before `step`."""
    if step < schedule.start:
        return False
    since = step - schedule.start
    steps_to_largest = (_num_shifts(schedule) - 1) * schedule.every
    if since <= steps_to_largest:
        return since % schedule.every == 0
    return schedule.refresh > 0 and since % schedule.refresh == 0


def draw_slot(seed: int, step: int, filled: int, num_events: int) -> int:
    """Draw a pseudo-view with a probability proportional to the number of its event, a pure function of its inputs.

    Args:
        seed: of the draws.
        step: of the training.
        filled: number of pseudo-views, those of the first event first; every event made equally many.
        num_events: events so far.
    """
    rng, weights = np.random.default_rng([seed, step]), np.arange(1, num_events + 1)
    per_event = filled // num_events
    return int(rng.choice(num_events, p=weights / weights.sum()) * per_event + rng.integers(per_event))


def _num_shifts(schedule: ShiftSchedule) -> int:
    return round(schedule.largest / schedule.meters + 0.499999)


def is_expanding(step: int, schedule: ShiftSchedule) -> bool:
    """Check whether the event at `step` increases the shift."""
    return shift_at(step, schedule) > shift_at(step - 1, schedule)


def is_novel(seed: int, step: int, schedule: ShiftSchedule, probability: float) -> bool:
    """Decide whether `step` trains on a pseudo-view as well: true with `probability`, a pure function of (seed, step).

    It runs on the host, because a device value would make every step wait for the one before.
    """
    return step >= schedule.start and np.random.default_rng([seed, step]).random() < probability
