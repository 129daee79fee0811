"""The command `serve` in a process: a client uses it, the benchmark `serving` measures it, a signal ends it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from experiments.benchmarks import serving_row
from experiments.benchmarks.recorded_drive import Answered, RecordedDrive, Work, figures
from experiments.cli.served_runs import runs_by_id, split_run
from ff_jax.simulation.client import Client
from ff_jax.simulation.messages import message
from tests import programs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SERVE = "import runpy, sys; from tests.ff_jax.viewer import tiny_run; tiny_run.make_run(sys.argv.pop());"
SERVE += "runpy.run_module('experiments.serve', run_name='__main__', alter_sys=True)"
TIMEOUT = 180  # seconds


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    """Serve a tiny run; yields the process and its address."""
    folder = tmp_path_factory.mktemp("run")
    arguments = [f"--run=street={folder}", "--port=0", "--any_camera", str(folder)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAXTYPING_DISABLE": "1"}
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, *arguments], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    deadline, match = time.time() + TIMEOUT, None
    while match is None and time.time() < deadline:
        assert process.poll() is None, (folder / "output").read_text()[-3000:]
        match = re.search(r"serving street on (\S+)", (folder / "output").read_text())
        time.sleep(0.1)
    assert match
    yield process, match[1], folder
    process.kill()
    process.wait()


def test_a_client_lists_the_scene_and_its_cameras(process):
    with Client(process[1]) as client:
        assert list(client.call("get_available_scenes").scene_ids) == ["street"]
        assert client.call("get_version").version_id in ("0.1.0", "checkout")
        answer = client.call("get_available_cameras", message("AvailableCamerasRequest")(scene_id="street"))
    assert [camera.logical_id for camera in answer.available_cameras] == ["a", "b"]


def test_the_benchmark_counts_frames(process, tmp_path):
    flags = ("--sizes=24x16", "--clients=1,3", "--seconds=0.5", "--call=batch_render_rgb", "--format=PNG")
    done = programs.run(
        "experiments.benchmarks.serving", f"--address={process[1]}", *flags, f"--out={tmp_path / 'rows.json'}"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [(row["size"], row["clients"]) for row in rows] == [("24x16", 1), ("24x16", 3)]
    assert all(row["frames_per_s"] > 1 and 0 < row["median_ms"] <= row["p99_ms"] for row in rows)
    assert "| 24x16 | 3 |" in done.stdout and all(row["errors"] == 0 for row in rows)
    unknown = programs.run("experiments.benchmarks.serving", f"--address={process[1]}", "--scene=nowhere")
    assert unknown.returncode == 1 and "NOT_FOUND: unknown scene_id 'nowhere'" in unknown.stderr


def test_a_soak_test_starts_its_own_server_and_kills_clients(process, tmp_path):
    flags = ("--sizes=24x16", "--clients=2", "--minutes=0.03", "--dying_clients=1", f"--out={tmp_path / 'rows.json'}")
    done = programs.run_process("experiments.benchmarks.serving", f"--run={process[2]}", *flags)
    assert done.returncode == 0, done.stderr[-2000:]
    (row,) = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert row["killed_clients"] == 1 and row["errors"] == 0 and row["codes"] == "" and row["frames_per_s"] > 1
    memory = [row[f"memory_mb_{when}"] for when in ("start", "quarter", "end")]
    assert all(50 < value < 8000 for value in memory) and memory[2] < memory[0] + 200
    nowhere = programs.run_process("experiments.benchmarks.serving", f"--run={tmp_path}")
    assert nowhere.returncode == 1 and "the server did not start:" in nowhere.stderr
    assert "holds no run: config.json is missing" in nowhere.stderr


def test_calls_that_are_refused_are_counted(process):
    with Client(process[1]) as client:
        work = Work(RecordedDrive(client, ""), "render_rgb", (24, 16), "JPEG")
    work.drive.scene_id = "nowhere"
    load, stop = serving_row._Load([], Counter(), time.perf_counter()), threading.Event()
    with ThreadPoolExecutor(1) as threads:
        user = threads.submit(serving_row._use, process[1], work, 0, load, stop)
        deadline = time.time() + TIMEOUT
        while not load.errors and time.time() < deadline:
            time.sleep(0.01)
        stop.set()
        user.result()
    assert set(load.errors) == {"NOT_FOUND"} and not load.answers


def test_a_signal_ends_the_server(process):
    process[0].send_signal(signal.SIGTERM)
    assert process[0].wait(TIMEOUT) == 143


def test_figures_of_the_benchmark_are_those_of_its_calls():
    answers = [Answered(0.5 * (i + 1), 0.5, 1_000_000) for i in range(8)]  # 8 calls in 4 s, 2 of them in the last one
    found = figures(answers, images=3)
    assert found["frames_per_s"] == 6 and found["last_quarter_frames_per_s"] == 6
    assert found["median_ms"] == found["p99_ms"] == found["max_ms"] == 500
    assert found["megabytes_per_s"] == pytest.approx(2) and set(figures([], images=1).values()) == {0.0}


def test_runs_are_named_by_folder_or_by_hand(tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    assert split_run(str(folder)) == ("demo", folder) and split_run(f"street={folder}") == ("street", folder)
    with pytest.raises(ValueError, match=r"holds no run: config.json is missing"):
        runs_by_id([str(folder)])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--run=nowhere",), "error: nowhere holds no run: config.json is missing."),
        ((), "flag --run=None: Flag --run must have a value other than None."),
    ],
)
def test_wrong_flags_end_with_a_sentence(arguments, sentence):
    done = programs.run("experiments.serve", *arguments)
    assert done.returncode == 1 and sentence in done.stderr and "Traceback" not in done.stderr
