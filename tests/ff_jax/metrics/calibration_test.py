"""Ranking and calibration metrics against direct sums and known cases."""

import numpy as np
import pytest

from ff_jax.metrics import calibration as cal
from tests.random_inputs import seeded_rng


@pytest.fixture
def rng():
    return seeded_rng()


def test_sparsification_equals_a_naive_loop(rng):
    score, error = rng.normal(size=200), rng.random(200)
    fractions = np.array([0.0, 0.25, 0.5, 0.99])
    order = np.argsort(score)
    naive = [error[order[: max(round((1 - f) * 200), 1)]].mean() for f in fractions]
    np.testing.assert_allclose(cal.sparsification(score, error, fractions), naive)


def test_ause_is_zero_for_a_perfect_ranking_and_grows_with_disorder(rng):
    error = rng.exponential(size=5000)
    perfect = cal.ause(np.log(error), error)
    noisy = cal.ause(error + rng.normal(0, 1, 5000), error)
    random, reverse = cal.ause(rng.normal(size=5000), error), cal.ause(-error, error)
    assert abs(perfect) < 1e-12 < noisy < random < reverse
    np.testing.assert_allclose(cal.ause(np.log(error), 7 * error), perfect, atol=1e-12)


def test_a_constant_score_ranks_nothing_whatever_the_order_of_the_pixels(rng):
    error = np.sort(rng.exponential(size=300))
    constant = np.zeros(300)
    assert cal.spearman(constant, error) == 0
    np.testing.assert_allclose(cal.sparsification(constant, error, np.array([0, 0.5, 0.9])), error.mean())
    np.testing.assert_allclose(cal.ause(constant, error), cal.ause(constant, error[::-1].copy()))


def test_spearman_survives_monotone_maps(rng):
    score, error = rng.normal(size=500), rng.random(500)
    error = error + 0.3 * score - (0.3 * score).min()
    np.testing.assert_allclose(cal.spearman(np.exp(score), error**3), cal.spearman(score, error))
    assert cal.spearman(score, np.exp(score)) == pytest.approx(1)


def test_pearson_is_the_correlation_coefficient(rng):
    score, error = rng.normal(size=500), rng.random(500)
    error = error + 0.3 * score - (0.3 * score).min()
    assert cal.pearson(score, error) == pytest.approx(np.corrcoef(score, error)[0, 1])
    assert cal.pearson(2 * score + 5, error) == pytest.approx(cal.pearson(score, error))
    assert cal.pearson(np.ones(500), error) == 0


def test_admitted_psnr_falls_for_a_good_score(rng):
    squared = rng.exponential(size=1000) * 0.01
    curve = cal.admitted_psnr(squared, squared, np.linspace(0.1, 1, 10))
    assert (np.diff(curve) < 0).all()
    np.testing.assert_allclose(curve[-1], -10 * np.log10(squared.mean()))


def test_reliability_recognizes_calibrated_errors(rng):
    std = np.exp(rng.normal(-2, 0.7, 60_000))
    squared = (rng.normal(size=60_000) * std) ** 2
    groups = cal.reliability(std, squared)
    np.testing.assert_allclose(groups.observed, groups.predicted, rtol=0.12)
    assert cal.miscalibration(groups) < 0.06 < 0.4 < cal.miscalibration(cal.reliability(2 * std, squared))


def test_rates_equal_counting(rng):
    score, bad = rng.random(400), rng.random(400) < 0.3
    thresholds = np.array([0.0, 0.3, 0.9, 2.0])
    hit, false = cal.detection_rates(score, bad, thresholds)
    np.testing.assert_allclose(hit, [(score[bad] >= t).mean() for t in thresholds])
    np.testing.assert_allclose(false, [(score[~bad] >= t).mean() for t in thresholds])


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="equally long"):
        cal.spearman(np.zeros(0), np.zeros(0))
    with pytest.raises(ValueError, match="finite"):
        cal.sort_by_score(np.array([0.0, np.nan]), np.zeros(2))
