"""The sweep of the paper's table: its runs, its scores side by side, and a tiny one from training to the table."""

from pathlib import Path

import numpy as np
import pytest

from experiments.configs.sweeps.paper_table import get_sweep
from experiments.configs.systems import SYSTEMS
from experiments.sweeps import launch
from experiments.sweeps.definition import metric_paths, read_metrics, run_specs
from experiments.sweeps.settings import check_settings


@pytest.mark.slow
@pytest.mark.parametrize("log", ["streets", "pandaset", "kitti_jam", "tiny"])
def test_all_runs_have_settings_that_exist(log):
    sweep = get_sweep(log)
    specs = run_specs(sweep)
    check_settings(specs, sweep.module)
    labels = {spec.label for spec in specs} | set(sweep.unavailable)
    assert labels == set(SYSTEMS) or log == "tiny"
    assert sweep.against in labels and set(sweep.minutes) <= labels and min(sweep.minutes.values()) > 0
    assert len({spec.seed for spec in specs}) == (5 if log == "streets" else 1)


def test_an_unknown_log_is_an_error():
    with pytest.raises(ValueError, match="invalid log 'mars': expected streets, pandaset, kitti_jam or tiny"):
        get_sweep("mars")


def test_the_rows_of_a_seed_are_scored_together_and_read_from_there():
    sweep = get_sweep()
    specs = run_specs(sweep)
    jobs = launch.together_jobs(sweep, specs, Path("/w"))
    assert [job.folder.name for job in jobs] == [f"together_seed{seed}" for seed in range(5)]
    (runs,) = (part for part in jobs[3].commands[0] if part.startswith("--run="))
    assert runs.removeprefix("--run=").split(",") == [f"{name}=/w/{name}_seed3" for name in SYSTEMS]
    spec = next(spec for spec in specs if (spec.label, spec.seed) == ("freevs", 3))
    paths = metric_paths(sweep.metrics["PSNR @6m^"], spec)
    assert paths[0] == "../together_seed3/metrics.json:results[version=freevs,shift=-6].psnr.mean"
    sides = [{"version": "freevs", "shift": shift, "psnr": {"mean": value}} for shift, value in ((-6.0, 20), (6.0, 23))]
    files = {"../together_seed3/metrics.json": {"results": sides}}
    assert read_metrics(files, sweep.metrics["PSNR @6m^"], spec) == 21.5
    assert np.isnan(read_metrics(files, sweep.metrics["FID @6m_"], spec))
