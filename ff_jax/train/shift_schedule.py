"""When the novel trajectory moves outwards, and when a training step looks at it."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class ShiftSchedule:
    """The progressive schedule (FaithFusion, section 3.3; paper: start 3000, +1 m every 2000 steps).

    Attributes:
        start: step of the first fix event.
        every: steps between events.
        metres: growth of the lateral shift per event.
        largest: shift at which the trajectory stops growing, metres.
        sides: signs of the shifts that are visited; +1 is left of travel.
        refresh: after the largest shift was reached, events come at multiples of this from `start`; 0 means none.
    """

    start: int = 3000
    every: int = 2000
    metres: float = 1.0
    largest: float = 6.0
    sides: tuple[int, ...] = (1, -1)
    refresh: int = 6000

    def __post_init__(self):
        """Check the numbers that would make the loop stand still."""
        if self.every <= 0 or self.metres <= 0 or self.largest < self.metres:
            raise ValueError(
                f"every={self.every}, metres={self.metres}, largest={self.largest}: every and metres must be "
                "positive and largest at least one step of metres."
            )
        if not self.sides or any(side not in (1, -1) for side in self.sides):
            raise ValueError(f"sides={self.sides} must hold 1 (left) and/or -1 (right).")


def shift_at(step: int, schedule: ShiftSchedule) -> float:
    """Return the size of the lateral shift (metres) that training has reached at `step`; 0 before the start."""
    if step < schedule.start:
        return 0.0
    return min((1 + (step - schedule.start) // schedule.every) * schedule.metres, schedule.largest)


def is_event(step: int, schedule: ShiftSchedule) -> bool:
    """Return whether new pseudo-views are made just before `step`."""
    if step < schedule.start:
        return False
    since = step - schedule.start
    steps_to_largest = (round(schedule.largest / schedule.metres + 0.499999) - 1) * schedule.every
    if since <= steps_to_largest:
        return since % schedule.every == 0
    return schedule.refresh > 0 and since % schedule.refresh == 0


def is_expanding(step: int, schedule: ShiftSchedule) -> bool:
    """Return whether the event at `step` moves the trajectory outwards."""
    return shift_at(step, schedule) > shift_at(step - 1, schedule)


def is_novel(seed: int, step: int, schedule: ShiftSchedule, probability: float) -> bool:
    """Return whether `step` trains on a pseudo-view: a coin of `probability`, fixed by (seed, step).

    Drawn on the host: asking the device would make every step wait for the one before.
    """
    return step >= schedule.start and np.random.default_rng([seed, step]).random() < probability
