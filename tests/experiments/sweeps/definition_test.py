"""Points of a sweep, their names, and their metrics."""

import math

import numpy as np
import pytest

from experiments.sweeps.definition import Range, Sweep, command_flags, metric, points, summarize

METRICS = {"PSNR^": "shifts.Fused[shift=3].psnr"}


def test_points_are_every_row_with_every_cell_and_every_seed():
    sweep = Sweep("t", METRICS, rows={"a": {"fixer": "none"}, "b": {}}, grid={"eig.kappa": (0.1, 0.5)}, seeds=(0, 4))
    found = points(sweep)
    assert [point.name for point in found] == [
        f"{row}_kappa={kappa}_seed{seed}" for row in "ab" for kappa in (0.1, 0.5) for seed in (0, 4)
    ]
    assert found[1].settings == {
        "config": "experiments/configs/fuse.py",
        "fixer": "none",
        "eig.kappa": 0.1,
        "seed": 4,
        "data.seed": 4,
    }
    assert found[1].label == found[0].label == "a, kappa=0.1"


def test_what_a_point_varies_comes_before_the_base_and_becomes_flags():
    sweep = Sweep(
        "t", METRICS, base={"pool": 3, "seed": 9}, grid={"pool": [7], "schedule.sides": [(1, -1)]}, seeds=(2,)
    )
    (point,) = points(sweep)
    assert command_flags(point) == [
        "--config=experiments/configs/fuse.py",
        "--config.pool=7",
        "--config.seed=2",
        "--config.schedule.sides=(1,-1)",
        "--config.data.seed=2",
    ]


def test_more_draws_keep_the_earlier_ones_and_stay_inside():
    random = {"recon.optim.means": Range(1e-5, 1e-3, log=True), "pool": Range(3, 5), "fixer": ("none", "self_fit")}
    few, many = (points(Sweep("t", METRICS, random=random, draws=n)) for n in (3, 40))
    assert many[:3] == few
    rates = np.array([point.settings["recon.optim.means"] for point in many])
    assert rates.min() >= 1e-5 and rates.max() <= 1e-3 and 0.2 < (rates < 1e-4).mean() < 0.8
    assert all(3 <= point.settings["pool"] <= 5 for point in many)
    assert {point.settings["fixer"] for point in many} == {"none", "self_fit"}
    with pytest.raises(ValueError, match="low < high"):
        Range(2, 1)


def test_two_points_of_one_name_and_none_at_all_are_refused():
    with pytest.raises(ValueError, match="'a_b_seed0'"):
        points(Sweep("t", METRICS, rows={"a b": {}, "a/b": {"pool": 3}}))
    with pytest.raises(ValueError, match="no point"):
        points(Sweep("t", METRICS, seeds=()))
    long = [point.name for point in points(Sweep("t", METRICS, rows={"x" * 300 + end: {} for end in "ab"}))]
    assert len(set(long)) == 2 and max(map(len, long)) < 130


def test_metrics_are_found_by_their_path():
    rows = [{"shift": 0.0, "psnr": 1.0}, {"shift": 3.0, "psnr": 2.5}]
    listed = [
        {"version": name, "shift": 3.0, "fid": {"mean": i}} for i, name in enumerate(("Reconstruction only", "F"))
    ]
    read = {"results/metrics.json": {"shifts": {"Fused": rows}, "n": 7}, "b/metrics.json": {"results": listed}}
    assert metric(read, "shifts.Fused[shift=3].psnr") == 2.5
    assert metric(read, "n") == 7
    assert metric(read, "b/metrics.json:results[version=Reconstruction only,shift=3].fid.mean") == 0
    for absent in (
        "shifts.Fused[shift=6].psnr",
        "shifts.Other[shift=3].psnr",
        "n.m",
        "c.json:n",
        "shifts.Fused",
        "n[a=b]",
    ):
        assert math.isnan(metric(read, absent)), absent


def test_spreads_leave_out_what_was_not_measured():
    values = np.random.default_rng().normal(size=5)
    found = summarize([*values, math.nan], higher=False)
    np.testing.assert_allclose(
        [found.mean, found.deviation, found.best], [values.mean(), values.std(ddof=1), values.min()]
    )
    alone = summarize([3.0], higher=True)
    assert (alone.mean, alone.best) == (3, 3) and math.isnan(alone.deviation)
    assert math.isnan(summarize([math.nan], higher=True).mean)
