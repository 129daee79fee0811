"""Plans: the views of a street that become pairs or clips."""

import numpy as np
import pytest

from ff_jax.pipeline import street_plans
from tests.random_inputs import seeded_rng


def test_training_plans_cover_all_degrees_of_degradation():
    rng = seeded_rng()
    plans = [street_plans.training_plan(int(seed), 36) for seed in rng.integers(0, 1 << 30, 60)]
    assert {plan.stride for plan in plans} == {1, 2, 3}
    assert all(len(plan.recorded) == street_plans.RECORDED and plan.recorded[-1] < 36 for plan in plans)
    assert len({len(plan.views) for plan in plans}) == len({len(plan.steps) for plan in plans}) == 1
    for plan in plans:
        assert plan.steps[0] < plan.steps[1] and all(0 <= time < 36 for time, _ in plan.views)
        on_path = plan.views[: street_plans._ON_PATH]
        assert {shift for _, shift in on_path} == {0.0}
        assert plan.stride == 1 or not {time for time, _ in on_path} & set(plan.recorded)
    shifts = np.array([shift for plan in plans for _, shift in plan.views])
    assert shifts.min() < -2 and shifts.max() > 5 and (np.abs(shifts) < 6.01).all()
    assert street_plans.training_plan(5, 36) == street_plans.training_plan(5, 36)


def test_short_streets_are_recorded_whole_and_too_short_ones_are_errors():
    assert street_plans.training_plan(1, 14).stride == 1
    with pytest.raises(ValueError, match="invalid frames=11 of a street: expected at least 12"):
        street_plans.training_plan(1, 11)


def test_clips_are_consecutive_and_slides_start_at_a_recorded_image():
    rng, length = seeded_rng(), 9
    plans = [street_plans.clip_plan(int(seed), 36, length) for seed in rng.integers(0, 1 << 30, 40)]
    assert {plan.stride for plan in plans} == {1, 2, 3} and len({len(plan.views) for plan in plans}) == 1
    ends = []
    for plan in plans:
        clips = np.array(plan.views).reshape(-1, length, 2)
        assert len(clips) == street_plans._SLIDES + street_plans._DRIVES
        last = plan.first + street_plans.RECORDED * plan.stride
        assert (clips[..., 0] >= plan.first).all() and (clips[..., 0] < last).all()
        for clip in clips[: street_plans._SLIDES]:
            assert clip[0, 0] in plan.recorded and (clip[:, 0] == clip[0, 0]).all() and clip[0, 1] == 0
            np.testing.assert_allclose(clip[:, 1], np.linspace(0, clip[-1, 1], length), atol=0.011)
        for clip in clips[street_plans._SLIDES :]:
            assert (np.diff(clip[:, 0]) == 1).all() and (clip[:, 1] == clip[0, 1]).all()
        assert clips[street_plans._SLIDES, 0, 1] == 0.0
        ends += [*clips[:, -1, 1]]
    assert min(ends) < -2 and max(ends) > 5 and np.abs(ends).max() < 6.01
    assert street_plans.clip_plan(5, 36, 9) == street_plans.clip_plan(5, 36, 9)
    with pytest.raises(ValueError, match="invalid clip length=13: expected 2 to 12 frames"):
        street_plans.clip_plan(5, 12, 13)


def test_study_clips_slide_before_they_drive():
    plan = street_plans.study_clips((3.0, 6.0), 4, 3, 700)
    path = [(0, 0.0), (0, 0.75), (0, 1.5), (0, 2.25), (0, 3.0), (1, 3.0), (2, 3.0)]
    assert plan.views[:7] == tuple(path) and plan.views[7:9] == ((0, 0.0), (0, 1.5)) and plan.steps == (700,)


def test_the_study_has_the_same_times_at_every_shift():
    plan = street_plans.study_plan((3.0, 6.0), 4, 1300)
    assert plan.steps == (1300,) and plan.recorded == tuple(range(12))
    assert plan.views == tuple((t, s) for s in (3.0, 6.0) for t in (0, 4, 7, 11))
