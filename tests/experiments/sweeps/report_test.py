"""Tables, files and charts of a sweep."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from experiments.sweeps.definition import Sweep, run_specs
from experiments.sweeps.report import (
    RunResult,
    all_tables,
    best_table,
    count_states,
    paired_table,
    runs_csv,
    summary_table,
    write_summary,
)
from tests.random_inputs import seeded_rng

SWEEP = Sweep(
    "Two ways & none",
    {"PSNR^": "psnr", "LPIPS_": "lpips"},
    rows={"first": {}, "second": {"steps": 3}},
    seeds=(0, 1, 2),
    unavailable={"third": "needs a fixer"},
)


@pytest.fixture
def results():
    values = iter([(20, 0.5), (22, 0.3), (24, 0.1), (30, 0.7), (31, None), (0, 0)])
    read = lambda psnr, lpips: {"results/metrics.json": {"psnr": psnr, "lpips": lpips}}
    found = [RunResult(spec, "finished", read(*next(values)), 60.0) for spec in run_specs(SWEEP)]
    return [*found[:-1], RunResult(found[-1].spec, "failed", {}, 30.0, "it broke.")]


def test_the_table_has_means_and_standard_deviations_of_finished_runs(results):
    assert [tuple(row) for row in summary_table(SWEEP, results).rows] == [
        ("first", "3", "22.00 ± 2.00", "0.300 ± 0.200"),
        ("second", "2", "30.50 ± 0.71", "0.700"),
        ("third (needs a fixer)", "0", "–", "–"),
    ]
    assert [tuple(row)[1:] for row in best_table(SWEEP, results).rows] == [
        ("31.00", "second", "1"),
        ("0.100", "first", "2"),
    ]
    assert count_states(results) == "5 finished, 1 failed; 5.5 minutes of runs in all"


def test_an_average_over_the_rows_is_one_more(results):
    rows = summary_table(dataclasses.replace(SWEEP, average=True), results).rows
    assert rows[2][:2] == ("all rows", "5") and rows[2][2].startswith(f"{np.mean([20, 22, 24, 30, 31]):.2f}")


def test_differences_are_paired_by_seed_to_the_row_above():
    rng = seeded_rng()
    sweep = dataclasses.replace(
        SWEEP, rows={"first": {}, "second": {"steps": 3}, "third": {"steps": 4}}, seeds=(0, 1, 2, 3), unavailable={}
    )
    street, gains = rng.normal(25, 5, 4), {"first": 0.0, "second": 1.5, "third": 1.25}
    results = [
        RunResult(spec, "finished", {"results/metrics.json": {"psnr": street[spec.seed] + gains[spec.label]}}, 1.0)
        for spec in run_specs(sweep)
    ]
    results[7] = results[7]._replace(state="failed", files={})  # the last street of the second row
    assert not paired_table(sweep, results).rows  # not asked for
    table = paired_table(dataclasses.replace(sweep, paired=True), results)
    # Streets differ by far more than rows do, but all gain alike.
    assert [tuple(row) for row in table.rows] == [
        ("second", "3", "+1.50 (+1.50 to +1.50)", "–"),
        ("third", "3", "-0.25 (-0.25 to -0.25)", "–"),
    ]
    table = paired_table(dataclasses.replace(sweep, paired=True, against="third"), results)
    assert "difference to third" in table.title
    assert [tuple(row)[:3] for row in table.rows] == [
        ("first", "4", "-1.25 (-1.25 to -1.25)"),
        ("second", "3", "+0.25 (+0.25 to +0.25)"),
    ]
    two = paired_table(dataclasses.replace(sweep, paired=True), results[:2] + results[4:6])
    assert [tuple(row) for row in two.rows] == [("second", "2", "+1.50", "–")]
    assert len(all_tables(sweep, results)) == 3


def test_every_run_is_a_line_of_the_csv(results):
    lines = list(csv.DictReader(runs_csv(SWEEP, results).splitlines()))
    assert [line["PSNR"] for line in lines] == ["20.0", "22.0", "24.0", "30.0", "31.0", ""]
    assert lines[4]["LPIPS"] == "" and lines[4]["steps"] == "3" and lines[0]["steps"] == ""
    assert lines[5]["state"] == "failed" and lines[5]["error"] == "it broke."


def test_all_files_are_written(results, tmp_path):
    write_summary(tmp_path, SWEEP, results)
    assert "| first | 3 | 22.00 ± 2.00 |" in (tmp_path / "summary.md").read_text()
    assert r"22.00 $\pm$ 2.00" in (tmp_path / "summary.tex").read_text()
    content = json.loads((tmp_path / "summary.json").read_text())
    assert content["rows"]["first"]["PSNR"] == {
        "mean": 22.0,
        "std": 2.0,
        "best": 24.0,
        "values": [20.0, 22.0, 24.0],
    }
    assert content["rows"]["second"]["LPIPS"]["values"] == [0.7, None]
    assert content["failed"] == {"second_seed2": "it broke."} and content["unavailable"] == SWEEP.unavailable
    assert np.asarray(Image.open(tmp_path / "summary.png")).std() > 10


def test_nothing_finished_gives_no_picture(results, tmp_path):
    write_summary(tmp_path, SWEEP, [result._replace(state="new", files={}) for result in results])
    assert not (tmp_path / "summary.png").exists()
    assert "6 new" in (tmp_path / "summary.md").read_text()
