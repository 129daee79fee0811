"""The schedule of shifts, fix events and pseudo-views."""

import itertools
import re

import numpy as np
import pytest

from ff_jax.train.shift_schedule import (
    ShiftSchedule,
    draw_slot,
    is_event,
    is_expanding,
    is_novel,
    shift_at,
    shifts_until,
)

PAPER = ShiftSchedule()


def test_paper_schedule():
    expected = {2999: 0, 3000: 1, 4999: 1, 5000: 2, 7000: 3, 9000: 4, 11000: 5, 13000: 6, 29999: 6}
    assert {step: shift_at(step, PAPER) for step in expected} == expected
    events = [step for step in range(30_000) if is_event(step, PAPER)]
    assert events == [3000, 5000, 7000, 9000, 11000, 13000, 15000, 21000, 27000]
    assert [step for step in events if is_expanding(step, PAPER)] == events[:6]


def test_the_shift_never_decreases_and_changes_only_at_events():
    schedule = ShiftSchedule(start=70, every=13, meters=0.4, largest=1.5, refresh=0)
    shifts = [shift_at(step, schedule) for step in range(300)]
    assert all(b >= a for a, b in itertools.pairwise(shifts)) and shifts[-1] == 1.5
    changes = [step for step in range(1, 300) if shifts[step] != shifts[step - 1]]
    assert changes == [step for step in range(300) if is_event(step, schedule)]


def test_the_shifts_of_an_event_are_those_of_all_events_so_far():
    schedule = ShiftSchedule(start=70, every=13, meters=0.4, largest=1.5, refresh=0)
    events = [step for step in range(300) if is_event(step, schedule)]
    for number, step in enumerate(events):
        assert shifts_until(step, schedule) == [shift_at(event, schedule) for event in events[: number + 1]]
    assert shifts_until(69, schedule) == []


def test_novel_share_and_repeatability():
    draws = [is_novel(3, step, PAPER, 0.4) for step in range(3000, 6000)]
    assert abs(sum(draws) / len(draws) - 0.4) < 0.05
    assert draws == [is_novel(3, step, PAPER, 0.4) for step in range(3000, 6000)]
    assert not any(is_novel(3, step, PAPER, 0.4) for step in range(3000))


@pytest.mark.parametrize("wrong", [{"every": 0}, {"meters": 0.0}, {"largest": 0.5}, {"sides": ()}, {"sides": (2,)}])
def test_invalid_schedules_are_errors(wrong):
    with pytest.raises(ValueError, match=re.escape(str(next(iter(wrong.values()))))):
        ShiftSchedule(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"update": "append"}, "invalid update='append': expected one of replace, keep"),
        ({"update": "keep"}, "refresh=6000 would add the largest shift again"),
        ({"sampling": "linear"}, "set update='keep'"),
        ({"sampling": "late"}, "invalid sampling='late'"),
    ],
)
def test_updates_that_do_not_fit_together_are_errors(wrong, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ShiftSchedule(**wrong)


def test_later_events_are_drawn_more_often_by_the_stated_weights():
    num_events, per_event = 4, 5
    draws = np.array([draw_slot(3, step, num_events * per_event, num_events) for step in range(6000)])
    events = np.bincount(draws // per_event, minlength=num_events) / len(draws)
    np.testing.assert_allclose(events, np.arange(1, 5) / 10, atol=0.025)
    assert set(draws) == set(range(20)) and np.bincount(draws)[15:].std() < 60  # even among the views of an event
    assert draws[7] == draw_slot(3, 7, 20, 4)
