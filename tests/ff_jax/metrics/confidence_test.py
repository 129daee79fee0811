"""Bootstrap intervals: coverage on known distributions, agreement with Student's t, seeds as clusters, sets."""

import numpy as np
import pytest
from scipy import stats

from ff_jax.metrics.confidence import bootstrap_statistic, mean_interval, paired_interval, seed_interval
from tests.random_inputs import seeded_rng

DRAWS = 200  # a true 95 % interval holds the mean in 180 of them or more with probability 0.999


def coverage(make, mean, draws=DRAWS):
    intervals = [make() for _ in range(draws)]
    return np.mean([low <= mean <= high for _, low, high, _ in intervals])


@pytest.mark.parametrize("count", [3, 5, 30])
def test_interval_of_normal_values_holds_the_mean_in_95_percent(count):
    rng = np.random.default_rng(count)
    assert 0.9 <= coverage(lambda: mean_interval(rng.normal(2, 3, count)), 2) <= 0.99


def test_interval_is_close_to_students_t():
    values = seeded_rng().normal(size=25)
    found = mean_interval(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    width = expected.high - expected.low
    np.testing.assert_allclose(found[1:3], expected, atol=0.12 * width)
    assert found.mean == pytest.approx(values.mean()) and found.count == 25


def test_interval_moves_and_scales_with_the_values():
    values = seeded_rng().exponential(size=12)
    base, moved = mean_interval(values), mean_interval(5 + 3 * values)
    np.testing.assert_allclose(moved[:3], 5 + 3 * np.array(base[:3]))
    assert base == mean_interval(values) != mean_interval(values, seed=1)
    narrow = mean_interval(values, level=0.5)
    assert base.low < narrow.low < base.mean < narrow.high < base.high


def test_few_values_give_no_bounds():
    for values in ([1.0], [1.0, 3.0]):
        found = mean_interval(values)
        assert found.mean == np.mean(values) and np.isnan([found.low, found.high]).all()
    assert mean_interval([2.0] * 5)[:3] == (2, 2, 2)


@pytest.mark.parametrize("between", [0.05, 1.0])
def test_seeds_are_the_unit_however_many_frames_they_have(between):
    rng = np.random.default_rng(7)

    def draw():
        return seed_interval({seed: rng.normal(rng.normal(0, between), 1, 30) for seed in range(4)})

    assert 0.9 <= coverage(draw, 0) <= 0.99


def test_pretending_that_frames_are_seeds_is_overconfident():
    rng = seeded_rng()
    seeds = {seed: rng.normal(10 * seed, 1, 50) for seed in range(4)}
    found, naive = seed_interval(seeds), mean_interval(np.concatenate([*seeds.values()]))
    assert found.mean == pytest.approx(naive.mean) and found.count == 4
    assert found.high - found.low > 3 * (naive.high - naive.low)


def test_pairs_remove_what_frames_share():
    rng = seeded_rng()
    before = 100 * rng.normal(size=20)
    after = before + rng.normal(1, 0.1, 20)
    paired, apart = paired_interval(before, after), mean_interval(after)
    assert paired.mean == pytest.approx(np.mean(after - before)) and abs(paired.mean - 1) < 0.15
    assert paired.low < paired.mean < paired.high and paired.high - paired.low < 0.02 * (apart.high - apart.low)


def test_resampled_mean_equals_the_interval_of_the_mean():
    rows = seeded_rng().normal(size=(60, 1))
    found = bootstrap_statistic(lambda sample: sample.mean(), rows, resamples=2000)
    expected = mean_interval(rows[:, 0])
    np.testing.assert_allclose(found, expected, atol=0.12 * (expected.high - expected.low))


@pytest.mark.slow
def test_resampled_sets_cover_a_biased_statistic_at_its_own_size():
    rng = np.random.default_rng(3)
    distance = lambda a, b: float(((a.mean(0) - b.mean(0)) ** 2).sum())
    draw = lambda: (rng.normal(0, 1, (40, 6)), rng.normal(0.6, 1, (50, 6)))
    expected = np.mean([distance(*draw()) for _ in range(4000)])
    assert expected > 6 * 0.36 + 0.2  # the bias
    assert 0.87 <= coverage(lambda: bootstrap_statistic(distance, *draw()), expected) <= 0.99


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="got 3 values: expected at least one, all finite"):
        mean_interval([1.0, np.inf, 2.0])
    with pytest.raises(ValueError, match="got 0 values"):
        seed_interval({})
    with pytest.raises(ValueError, match=r"level=1\.5"):
        mean_interval([1.0, 2.0], level=1.5)
    with pytest.raises(ValueError, match="3 values before and 2 after"):
        paired_interval([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="samples of"):
        bootstrap_statistic(np.mean, np.zeros((0, 2)))
