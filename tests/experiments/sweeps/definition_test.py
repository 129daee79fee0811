"""Runs of a sweep, their names, and their metrics."""

import math

import numpy as np
import pytest

from experiments.sweeps.definition import Range, Sweep, command_flags, read_metric, run_specs, summarize
from tests.random_inputs import seeded_rng

METRICS = {"PSNR^": "shifts.Fused[shift=3].psnr"}


def test_runs_are_every_row_with_every_cell_and_every_seed():
    sweep = Sweep("t", METRICS, rows={"a": {"fixer": "none"}, "b": {}}, grid={"eig.kappa": (0.1, 0.5)}, seeds=(0, 4))
    found = run_specs(sweep)
    assert [spec.name for spec in found] == [
        f"{row}_kappa={kappa}_seed{seed}" for row in "ab" for kappa in (0.1, 0.5) for seed in (0, 4)
    ]
    assert found[1].settings == {
        "config": "experiments/configs/fuse.py:cpu",
        "fixer": "none",
        "eig.kappa": 0.1,
        "seed": 4,
        "data.seed": 4,
    }
    assert found[1].label == found[0].label == "a, kappa=0.1"


def test_settings_of_a_run_replace_those_of_the_base_and_become_flags():
    sweep = Sweep(
        "t", METRICS, base={"steps": 3, "seed": 9}, grid={"steps": [7], "schedule.sides": [(1, -1)]}, seeds=(2,)
    )
    (spec,) = run_specs(sweep)
    assert command_flags(spec) == [
        "--config=experiments/configs/fuse.py:cpu",
        "--config.steps=7",
        "--config.seed=2",
        "--config.schedule.sides=(1,-1)",
        "--config.data.seed=2",
    ]


def test_more_draws_keep_the_earlier_ones_and_stay_inside():
    random = {"recon.optim.means": Range(1e-5, 1e-3, log=True), "steps": Range(3, 5), "fixer": ("none", "self_fit")}
    few, many = (run_specs(Sweep("t", METRICS, random=random, num_draws=n)) for n in (3, 40))
    assert many[:3] == few
    rates = np.array([spec.settings["recon.optim.means"] for spec in many])
    assert rates.min() >= 1e-5 and rates.max() <= 1e-3 and 0.2 < (rates < 1e-4).mean() < 0.8
    assert all(3 <= spec.settings["steps"] <= 5 for spec in many)
    assert {spec.settings["fixer"] for spec in many} == {"none", "self_fit"}
    with pytest.raises(ValueError, match="low < high"):
        Range(2, 1)


def test_two_runs_of_one_name_and_no_run_are_errors():
    with pytest.raises(ValueError, match="'a_b_seed0'"):
        run_specs(Sweep("t", METRICS, rows={"a b": {}, "a/b": {"steps": 3}}))
    with pytest.raises(ValueError, match="no run"):
        run_specs(Sweep("t", METRICS, seeds=()))
    long = [spec.name for spec in run_specs(Sweep("t", METRICS, rows={"x" * 300 + end: {} for end in "ab"}))]
    assert len(set(long)) == 2 and max(map(len, long)) < 130


def test_metrics_are_found_by_their_path():
    rows = [{"shift": 0.0, "psnr": 1.0}, {"shift": 3.0, "psnr": 2.5}]
    listed = [
        {"version": name, "shift": 3.0, "fid": {"mean": i}} for i, name in enumerate(("Reconstruction only", "F"))
    ]
    read = {"results/metrics.json": {"shifts": {"Fused": rows}, "n": 7}, "b/metrics.json": {"results": listed}}
    assert read_metric(read, "shifts.Fused[shift=3].psnr") == 2.5
    assert read_metric(read, "n") == 7
    assert read_metric(read, "b/metrics.json:results[version=Reconstruction only,shift=3].fid.mean") == 0
    for absent in (
        "shifts.Fused[shift=6].psnr",
        "shifts.Other[shift=3].psnr",
        "n.m",
        "c.json:n",
        "shifts.Fused",
        "n[a=b]",
    ):
        assert math.isnan(read_metric(read, absent)), absent


def test_statistics_leave_out_missing_values():
    values = seeded_rng().normal(size=5)
    found = summarize([*values, math.nan], higher=False)
    np.testing.assert_allclose([found.mean, found.std, found.best], [values.mean(), values.std(ddof=1), values.min()])
    single = summarize([3.0], higher=True)
    assert (single.mean, single.best) == (3, 3) and math.isnan(single.std)
    assert math.isnan(summarize([math.nan], higher=True).mean)
