"""Sweeps as a user runs them, of a job that does no work."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.sweeps import launch
from experiments.sweeps.definition import Sweep, run_specs
from experiments.sweeps.slurm import ClusterJob
from tests import programs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
CONFIG = """
from experiments.sweeps.definition import Sweep

def get_sweep(seconds="0"):
    return Sweep(
        title="fake",
        metrics={"PSNR @3m^": "shifts.Fused[shift=3].psnr"},
        module="tests.experiments.fake_job",
        base={"seconds": seconds},
        rows={"low": {"value": 10}, "high": {"value": 20}, "shaky": {"value": 30, "fails": 1}},
        seeds=(0, 2),
        seed_settings=("seed",),
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
def run():
    """Return a function that runs a sweep to its end."""
    return lambda config, workdir, *more: programs.run(
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
    end = run(config, workdir, "--workers=2")
    assert end.returncode == 0, end.stderr
    assert "fake: 6/6" in end.stderr
    assert "11.00 ± 1.41" in end.stdout and "31.00 ± 1.41" in end.stdout and "6 finished" in end.stdout
    once = {f"{row}_seed{seed}": 1 + (row == "shaky") for row in ("low", "high", "shaky") for seed in (0, 2)}
    assert starts(workdir) == once
    assert {path.read_text().split()[0] for path in workdir.glob("*/starts")} == {"3", "5"}
    assert json.loads((workdir / "summary.json").read_text())["rows"]["low"]["PSNR @3m"]["values"] == [10, 12]
    assert re.search(r"6 finished; \d+\.\d minutes of runs in all;", end.stdout)
    again = run(config, workdir)
    assert again.returncode == 0 and starts(workdir) == once
    other = run(config, workdir, "--set=seconds=1")
    assert other.returncode == 1 and "low_seed0 was started with other settings" in other.stderr


def test_a_run_that_keeps_failing_is_reported_in_one_line_and_repeated(run, config, tmp_path):
    workdir = tmp_path / "runs"
    failing = f"{config}", workdir, "--seeds=0", "--set=fails=2"
    first = run(*failing)
    assert first.returncode == 1 and "2 of 3 runs failed; run the same command again to repeat them" in first.stderr
    assert "failed: low_seed0: value 10 broke. (see" in first.stdout and "Traceback" not in first.stderr
    assert "1 finished, 2 failed" not in first.stdout  # in the order of the runs
    second = run(*failing)
    assert second.returncode == 0, second.stderr
    assert starts(workdir) == {"low_seed0": 3, "high_seed0": 3, "shaky_seed0": 2}


def test_a_killed_sweep_resumes(run, config, tmp_path):
    """Kill -9 of the sweep and its runs, as when a machine stops."""
    workdir = tmp_path / "runs"
    slow = f"{config}:3", workdir, "--workers=2", "--seeds=0"
    null = subprocess.DEVNULL
    process = subprocess.Popen(command(*slow), cwd=ROOT, stdout=null, stderr=null, start_new_session=True)
    deadline = time.time() + 120
    while len(starts(workdir)) < 2 and time.time() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    end = run(*slow)
    assert end.returncode == 0, end.stderr
    assert "3 finished" in end.stdout
    assert starts(workdir) == {"low_seed0": 2, "high_seed0": 2, "shaky_seed0": 2}
    assert not any("in use" in path.read_text() for path in workdir.glob("*/output.txt"))


CHILD = """
import time
from experiments.cli import command_line

def main(_):
    print("here", flush=True)
    time.sleep(100)

command_line.run(main)
"""
PARENT = """
import pathlib, sys
from experiments.sweeps.launch import Processes
Processes().run([sys.executable, sys.argv[1]], pathlib.Path(sys.argv[2]), {"PYTHONPATH": "."})
"""


def test_a_run_ends_with_a_sweep_that_is_killed_alone(tmp_path):
    output, child = tmp_path / "output.txt", tmp_path / "child.py"
    child.write_text(CHILD)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(child), str(output)], cwd=ROOT)
    deadline = time.time() + 120
    while not (output.exists() and "here\n" in output.read_text()):
        assert parent.poll() is None and time.time() < deadline
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    while "stopped by SIGTERM" not in output.read_text():
        assert time.time() < deadline
        time.sleep(0.05)


def test_an_interrupted_sweep_ends_its_runs(config, tmp_path):
    workdir = tmp_path / "runs"
    process = subprocess.Popen(
        command(f"{config}:100", workdir), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.time() + 120
    while not starts(workdir) and time.time() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert "run the same command again" in process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGTERM
    assert len(starts(workdir)) == 1 and not list(workdir.glob("*/f*.json"))


def test_the_same_sweep_runs_through_submitit(run, config, tmp_path):
    pytest.importorskip("submitit")
    workdir = tmp_path / "runs"
    end = run(config, workdir, "--cluster=local", "--seeds=0", "--cluster_option=timeout_min=5")
    assert end.returncode == 0, end.stderr
    assert "3 finished" in end.stdout and starts(workdir) == {"low_seed0": 1, "high_seed0": 1, "shaky_seed0": 2}
    wrong = run(config, tmp_path / "other", "--cluster=local", "--cluster_option=timeout_mins=5")
    assert wrong.returncode == 1 and "--cluster=local does not work" in wrong.stderr


def test_a_preempted_job_goes_on_by_itself(tmp_path):
    """As on Slurm, which tells the job with a signal and starts it again: submitit's local executor does the same."""
    submitit = pytest.importorskip("submitit")
    sweep = Sweep(title="fake", metrics={}, module="tests.experiments.fake_job", base={"seconds": "2"},
                  rows={"low": {"value": 10}}, seeds=(0,), seed_settings=("seed",))  # fmt: skip
    job = launch.make_job(sweep, run_specs(sweep)[0], tmp_path)
    executor = submitit.LocalExecutor(tmp_path / "submitit")
    executor.update_parameters(timeout_min=5)
    submission = executor.submit(ClusterJob(), job)
    deadline = time.time() + 120
    while not starts(tmp_path) and time.time() < deadline:
        time.sleep(0.02)
    controller = submission.job_id  # its child runs the job
    (worker,) = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()
    os.kill(int(worker), signal.SIGUSR2)
    submission.result()
    assert list(starts(tmp_path).values()) == [2]
    assert json.loads((job.folder / "finished.json").read_text())["attempts"] == 1  # of the second process
    assert not (job.folder / "failed.json").exists()


def test_wrong_use_gets_one_sentence(run, tmp_path):
    (tmp_path / "empty.py").write_text("")
    end = run(tmp_path / "empty.py", tmp_path)
    assert end.returncode == 1 and "Traceback" not in end.stderr
    assert "has no function get_sweep" in end.stderr


def test_rows_are_chosen_by_name(run, config, tmp_path):
    end = run(config, tmp_path, "--rows=low,shaky", "--dry_run")
    assert "low_seed0" in end.stdout and "shaky_seed2" in end.stdout and "high" not in end.stdout
    wrong = run(config, tmp_path, "--rows=medium", "--dry_run")
    assert wrong.returncode == 1
    assert "invalid --rows=medium: expected some of 'low', 'high', 'shaky'." in wrong.stderr
    assert run(config, tmp_path, "--rows=", "--dry_run").returncode == 1


TOGETHER = """
from experiments.sweeps.definition import Sweep

def get_sweep():
    return Sweep(
        title="fake", metrics={"PSNR^": "shifts.Fused[shift=3].psnr"}, module="tests.experiments.fake_job",
        rows={"low": {"value": 10}, "shaky": {"value": 30, "fails": 1}}, seeds=(0, 1), seed_settings=("seed",),
        num_retries=0, against="low",
        together=("tests.experiments.fake_job --resume --workdir={out} --config.value=1 --config.seed=0",),
    )
"""


def test_the_rows_of_a_finished_seed_follow_together_although_another_seed_failed(run, tmp_path):
    config, workdir = tmp_path / "sweep.py", tmp_path / "runs"
    config.write_text(TOGETHER)
    assert run(config, workdir, "--seeds=0").returncode == 1  # each shaky run fails once
    end = run(config, workdir)
    assert end.returncode == 1 and (workdir / "summary.md").is_file()
    assert (workdir / "together_seed0" / "finished.json").is_file() and not (workdir / "together_seed1").exists()
    summary = (workdir / "summary.md").read_text()
    fewer = run(config, workdir, "--rows=low", "--seeds=0")
    assert fewer.returncode == 1 and "has results of other rows or commands: delete it" in fewer.stderr
    assert (workdir / "summary.md").read_text() == summary and "shaky" in summary
    assert "add low; differences refer to it" in run(config, workdir, "--rows=shaky").stderr


def test_workers_share_gpus_their_memory_and_the_cores(monkeypatch):
    monkeypatch.setattr(launch, "_num_cores", lambda: 8)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "2")  # the choice of the user stays
    assert launch.worker_environment(0, 1, []) == {}
    cores = {"OPENBLAS_NUM_THREADS": "4", "OMP_NUM_THREADS": "4"}
    assert launch.worker_environment(1, 2, []) == cores
    assert launch.worker_environment(1, 2, ["3", "5"]) == {"CUDA_VISIBLE_DEVICES": "5", **cores}
    shared = [launch.worker_environment(number, 3, ["0", "1"]) for number in range(3)]
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in shared] == ["0", "1", "0"]
    assert {slot["XLA_PYTHON_CLIENT_MEM_FRACTION"] for slot in shared} == {"0.45"}


def test_the_ready_sweeps_name_settings_that_exist():
    from experiments.configs.sweeps import paper_ablation, waymo
    from ff_jax.pipeline.config import FuseConfig, to_dict

    def is_setting(name: str, tree: dict) -> bool:
        first, dot, rest = name.partition(".")
        return first in tree and (not dot or is_setting(rest, tree[first]))

    for sweep in (paper_ablation.get_sweep(), waymo.get_sweep()):
        assert isinstance(sweep, Sweep)
        for spec in run_specs(sweep):
            assert all(is_setting(name, to_dict(FuseConfig())) for name in spec.settings if name != "config")
            launch.make_job(sweep, spec, Path("w"))
    assert len(run_specs(paper_ablation.get_sweep())) == 25 and len(run_specs(waymo.get_sweep())) == 8
