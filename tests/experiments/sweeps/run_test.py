"""Sweeps as a user runs them: on a job that only pretends to work."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.sweeps import launch
from experiments.sweeps.definition import Sweep, points

ROOT = Path(__file__).parents[3]
CONFIG = """
from experiments.sweeps.definition import Sweep

def get_sweep(seconds="0"):
    return Sweep(
        title="pretended",
        metrics={"PSNR @3m^": "shifts.Fused[shift=3].psnr"},
        module="tests.experiments.pretend_run",
        base={"seconds": seconds},
        rows={"low": {"value": 10}, "high": {"value": 20}, "shaky": {"value": 30, "fails": 1}},
        seeds=(0, 2),
        seeded=("seed",),
    )
"""


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "sweep.py"
    path.write_text(CONFIG)
    return path


def command(config, workdir, *more) -> list[str]:
    return [sys.executable, "-m", "experiments.sweeps.run", f"--config={config}", f"--workdir={workdir}", *more]


@pytest.fixture
def run(server):
    """Return a function that runs a sweep to its end."""
    return lambda config, workdir, *more: server.run(
        "experiments.sweeps.run", f"--config={config}", f"--workdir={workdir}", *more, CUDA_VISIBLE_DEVICES="3,5"
    )


def starts(workdir) -> dict[str, int]:
    return {path.parent.name: path.read_text().count("\n") for path in workdir.glob("*/starts")}


def test_a_sweep_runs_retries_and_is_not_repeated(run, config, tmp_path):
    workdir = tmp_path / "runs"
    planned = run(config, workdir, "--dry_run")
    assert (
        planned.stdout.count("\n     new  ") == 6 and "high_seed2   --config.value=20 --config.seed=2" in planned.stdout
    )
    assert not workdir.exists()
    done = run(config, workdir, "--workers=2")
    assert done.returncode == 0, done.stderr
    assert "pretended: 6/6" in done.stderr
    assert "11.00 ± 1.41" in done.stdout and "31.00 ± 1.41" in done.stdout and "6 finished" in done.stdout
    once = {f"{row}_seed{seed}": 1 + (row == "shaky") for row in ("low", "high", "shaky") for seed in (0, 2)}
    assert starts(workdir) == once
    assert {path.read_text().split()[0] for path in workdir.glob("*/starts")} == {"3", "5"}
    assert json.loads((workdir / "summary.json").read_text())["rows"]["low"]["PSNR @3m"]["values"] == [10, 12]
    assert re.search(r"minutes of runs in all on Pretended Chip; \d+\.\d GPU minutes;", done.stdout)
    again = run(config, workdir)
    assert again.returncode == 0 and starts(workdir) == once
    other = run(config, workdir, "--set=seconds=1")
    assert other.returncode == 1 and "low_seed0 was started with other settings" in other.stderr


def test_what_keeps_failing_is_reported_in_one_line_and_tried_again(run, config, tmp_path):
    workdir = tmp_path / "runs"
    failing = f"{config}", workdir, "--seeds=0", "--set=fails=2"
    first = run(*failing)
    assert first.returncode == 1 and "2 of 3 points failed; the same command tries them again" in first.stderr
    assert "failed: low_seed0: value 10 broke. (see" in first.stdout and "Traceback" not in first.stderr
    assert "1 finished, 2 failed" not in first.stdout  # in the order of the points
    second = run(*failing)
    assert second.returncode == 0, second.stderr
    assert starts(workdir) == {"low_seed0": 3, "high_seed0": 3, "shaky_seed0": 2}


def test_a_killed_sweep_goes_on_and_waits_for_its_orphans(run, config, tmp_path):
    workdir = tmp_path / "runs"
    slow = f"{config}:3", workdir, "--workers=2", "--seeds=0"
    process = subprocess.Popen(command(*slow), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.time() + 120
    while len(starts(workdir)) < 2 and time.time() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = run(*slow)
    assert done.returncode == 0, done.stderr
    assert "3 finished" in done.stdout
    assert starts(workdir) == {"low_seed0": 2, "high_seed0": 2, "shaky_seed0": 2}
    assert not any("in use" in path.read_text() for path in workdir.glob("*/output.txt"))


def test_an_interrupted_sweep_ends_its_points(config, tmp_path):
    workdir = tmp_path / "runs"
    process = subprocess.Popen(
        command(f"{config}:100", workdir), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.time() + 120
    while not starts(workdir) and time.time() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert "the same command goes on" in process.communicate(timeout=60)[1]
    assert len(starts(workdir)) == 1 and not list(workdir.glob("*/f*.json"))


def test_the_same_sweep_runs_through_submitit(run, config, tmp_path):
    pytest.importorskip("submitit")
    workdir = tmp_path / "runs"
    done = run(config, workdir, "--cluster=local", "--seeds=0", "--cluster_option=timeout_min=5")
    assert done.returncode == 0, done.stderr
    assert "3 finished" in done.stdout and starts(workdir) == {"low_seed0": 1, "high_seed0": 1, "shaky_seed0": 2}
    wrong = run(config, tmp_path / "other", "--cluster=local", "--cluster_option=timeout_mins=5")
    assert wrong.returncode == 1 and "--cluster=local does not work" in wrong.stderr


def test_wrong_use_gets_one_sentence(run, tmp_path):
    (tmp_path / "empty.py").write_text("")
    done = run(tmp_path / "empty.py", tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "has no function get_sweep" in done.stderr


def test_workers_share_gpus_and_their_memory():
    assert launch.slot(1, 2, []) == {}
    assert launch.slot(1, 2, ["3", "5"]) == {"CUDA_VISIBLE_DEVICES": "5"}
    shared = [launch.slot(number, 3, ["0", "1"]) for number in range(3)]
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in shared] == ["0", "1", "0"]
    assert {slot["XLA_PYTHON_CLIENT_MEM_FRACTION"] for slot in shared} == {"0.45"}


def test_the_ready_sweeps_name_settings_that_exist():
    from experiments.configs.sweeps import paper_ablation, waymo
    from ff_jax.pipeline.config import FuseConfig, to_dict

    def known(name: str, tree: dict) -> bool:
        first, dot, rest = name.partition(".")
        return first in tree and (not dot or known(rest, tree[first]))

    for sweep in (paper_ablation.get_sweep(), waymo.get_sweep()):
        assert isinstance(sweep, Sweep)
        for point in points(sweep):
            assert all(known(name, to_dict(FuseConfig())) for name in point.settings if name != "config")
            launch.job_of(sweep, point, Path("w"))
    assert len(points(paper_ablation.get_sweep())) == 15 and len(points(waymo.get_sweep())) == 8
