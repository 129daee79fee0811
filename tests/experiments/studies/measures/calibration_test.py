"""Numbers, thresholds and tables of the calibration study, on made-up pixels."""

import json

import numpy as np
import pytest
from scipy.stats import norm

from experiments.studies.measures import calibration as study
from experiments.studies.measures.calibration_figure import COLORS, calibration_figure
from experiments.studies.measures.uncertainty_maps import METHODS
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow


@pytest.fixture
def results():
    """Two runs in which only `exact` knows the error."""
    rng = seeded_rng()
    out = []
    for _ in range(2):
        std = np.exp(rng.normal(-3, 1, 4000))
        error = np.abs(rng.normal(size=4000)) * std
        scores = {name: rng.random(4000).astype(np.float32) for name in METHODS}
        scores["exact"] = (std * 10).astype(np.float32)
        out.append(study.summarize(scores, {"block": std, "diag": 2 * std}, error, error**2, error))
    return out


def test_the_map_that_knows_wins_and_its_threshold_serves_the_other_run(results):
    for result in json.loads(json.dumps(results)):
        methods = result["methods"]
        assert min(methods, key=lambda name: methods[name]["ause"]) == "exact"
        assert result["reliability"]["block"]["miscalibration"] < result["reliability"]["diag"]["miscalibration"]
        assert study.is_decreasing(methods["exact"]["admitted_psnr"], slack=0.3)
    threshold = study.choose_threshold(results[:1])
    there, best, above = study.at_threshold(results[1], threshold)
    assert 0.8 * best < there <= best
    # Scores are ten times the deviations, whose logarithms were drawn from N(-3, 1).
    assert above == pytest.approx(norm.sf(np.log(threshold / 10) + 3), abs=0.03)


def test_one_inflation_calibrates_the_other_run():
    """Predictions whose variance beyond the noise is 9 times too small, in two runs of other noise."""
    rng, runs, noises = seeded_rng(), [], (0.02, 0.04)
    for noise in noises:
        beyond = np.exp(rng.normal(-3, 1, 20_000))
        error = rng.normal(size=20_000) * np.sqrt(noise**2 + 9 * beyond**2)
        scores = {name: beyond for name in METHODS}
        std = np.sqrt(noise**2 + beyond**2)
        runs.append(study.summarize(scores, {"block": std}, np.abs(error), error**2, np.abs(error)))
    inflation = study.choose_inflation(runs[:1], noises[:1])
    assert inflation == pytest.approx(9, rel=0.3)
    before, after = (study.inflate(runs[1]["reliability"]["block"], noises[1], factor) for factor in (1.0, inflation))
    np.testing.assert_allclose(before.predicted, runs[1]["reliability"]["block"]["predicted"], rtol=1e-6)
    assert study.deviation_factor(before) > 1.5 and study.deviation_factor(after) < 1.25


def test_means_and_tables_keep_every_method(results):
    mean = study.mean_of(results)
    expected = np.mean([result["methods"]["trace"]["ause"] for result in results])
    assert mean["methods"]["trace"]["ause"] == pytest.approx(expected)
    absolute, structure = study.text_table({"all": mean}).split("\n\n")
    for table in (absolute, structure):
        assert all(f"| {name} |" in table for name in METHODS) and table.count("\n") == len(METHODS) + 1
    figures = mean["methods"]["trace"]
    cells = " / ".join(f"{figures[name]:.3f}" for name in ("ause", "spearman", "pearson"))
    assert f"| trace | {cells} |" in absolute


def test_pixel_errors_are_those_of_valid_pixels():
    rgb, truth = np.full((2, 3, 3), 1.4, np.float32), np.full((2, 3, 3), 0.5, np.float32)
    absolute, squared = study.pixel_errors(rgb, truth, np.array([[True, False, False]] * 2))
    np.testing.assert_allclose(absolute, [0.5, 0.5])
    np.testing.assert_allclose(squared, [0.25, 0.25])


def test_dissimilarity_is_that_of_valid_pixels():
    rng = seeded_rng()
    image = rng.random((12, 13, 3), np.float32)
    valid = rng.random((12, 13)) < 0.5
    assert np.abs(study.pixel_dissimilarity(image, image, valid)).max() < 1e-5
    other = rng.random((12, 13, 3), np.float32)
    values = study.pixel_dissimilarity(other, image, valid)
    assert values.shape == (valid.sum(),) and 0 <= values.min() and 0.1 < values.mean() <= 1
    np.testing.assert_array_equal(values, study.pixel_dissimilarity(other * 1.0, image, valid | False))


def test_charts_show_every_method(results, tmp_path):
    assert set(COLORS) == set(METHODS)
    calibration_figure(results[0], tmp_path / "chart.png", "made up")
    assert (tmp_path / "chart.png").stat().st_size > 10_000
