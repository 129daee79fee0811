"""End to end on the synthetic street, as a user runs it: results, errors in one sentence, kill -9 and resume."""

import json
import os
import shutil
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from PIL import Image
from pxr import Usd

from experiments.studies.measures.robustness import kills
from experiments.studies.measures.robustness.programs import MAIN_JOB, TINY_FLAGS
from ff_jax.data.points.surface import MAX_DEPTH
from ff_jax.export.formats.files import read_gaussians
from ff_jax.fixers.skill import USEFUL
from tests import programs

# Several runs share all programs: they run for longer than one compilation takes.
pytestmark = [pytest.mark.usefixtures("optimized_module"), pytest.mark.slow]
TINY = list(TINY_FLAGS)
CPU = os.environ | {"JAX_PLATFORMS": "cpu"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    done = programs.run_process("experiments.fuse", f"--workdir={workdir}", *TINY)  # as those that are killed
    assert done.returncode == 0, done.stderr[-3000:]
    assert "1 m left" in done.stdout and "recorded path" in done.stdout
    return workdir


def state_of(workdir: Path, phase: str) -> dict[str, np.ndarray]:
    """Read all arrays of the last checkpoint of a phase without this project's code."""
    steps = sorted((workdir / phase / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))
    with ocp.StandardCheckpointer() as reader:
        arrays = reader.restore(steps[-1] / "state").items()
    is_key = lambda x: jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    return {name: np.asarray(jax.random.key_data(x) if is_key(x) else x) for name, x in arrays}


def test_results_are_complete(finished):
    results = finished / "results"
    metrics = json.loads((results / "metrics.json").read_text())
    for version in ("Reconstruction only", "Fused"):
        rows = metrics["shifts"][version]
        assert [row["shift"] for row in rows] == [0.0, 1.0]
        assert all(8 < row["psnr"] < 50 and 0 < row["ssim"] <= 1 and row["eig"] > 0 for row in rows)
    page = (results / "index.html").read_text()
    assert "data:image/png;base64" in page and "data:video/mp4;base64" in page and "http" not in page.split("<body")[0]
    assert 'href="scene.html"' in page and "Fused: " in (results / "scene.html").read_text()
    assert (results / "flight.mp4").stat().st_size > 500
    assert np.asarray(Image.open(results / "panels.png")).std() > 10
    assert (results / "scene.ply").read_bytes().startswith(b"ply\nformat binary_little_endian")
    facts = json.loads((finished / "env.json").read_text())
    assert facts["revision"] and facts["packages"]["jax"]
    lines = [json.loads(line) for line in (finished / "fused" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [30, 40, 50, 60]
    assert list((finished / "fused" / "tensorboard").glob("events*"))


def test_fusing_used_pseudo_views(finished):
    state = state_of(finished, "fused")
    images, weights, depth = (
        next(value for name, value in state.items() if "pseudo_views" in name and kind in name)
        for kind in ("images", "weights", "depth")
    )
    assert images.std() > 0.05 and 0 <= weights.min() and weights.max() <= 1
    # LiDAR supervises the depth of the views in any case; their colors count if the fixer helps on this log.
    assert (depth > 0).mean() > 0.01 and depth.max() < MAX_DEPTH
    facts = json.loads((finished / "results" / "metrics.json").read_text())["facts"]
    assert weights.any() == (facts["fixer_skill"]["self_fit"] >= USEFUL)
    baseline = state_of(finished, "baseline")
    means = next(name for name in state if "means" in name and "gaussians" in name)
    assert not np.array_equal(state[means], baseline[means])


def kill(workdir: Path, moment, number: int = signal.SIGKILL) -> int:
    """Start or resume a run and send it a signal once `moment(process)` is true; return its exit code."""
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(MAIN_JOB.command(workdir), cwd=kills.ROOT, env=CPU, **silent)
    deadline = time.time() + 900
    while not moment(process) and time.time() < deadline:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    return process.wait()


def kill_by_the_study(finished: Path, folder: Path) -> None:
    """Let the study kill a run once more: its row has one finished run, and one that is killed."""
    (folder / "kills_main" / "whole").symlink_to(finished)
    flags = f"--workdir={folder}", "--rows=kills_main", "--kills=1", "--signals=SIGKILL"
    done = programs.run_process("experiments.studies.robustness", *flags)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    killed, resumed = (json.loads(line) for line in (folder / "kills_main.jsonl").read_text().splitlines())
    assert killed["kind"] == "runs" and "code -9" in killed["text"] and "at fused/checkpoints/" in killed["text"]
    assert resumed["kind"] == "runs" and resumed["text"].startswith("0 of ")


def test_killed_and_resumed_equals_uninterrupted(finished, tmp_path):
    """The last of three kills is done by the study `robustness`, which then compares the results."""
    workdir = tmp_path / "kills_main" / "killed1"
    log = workdir / "fused" / "metrics.jsonl"

    def between_checkpoints(process) -> bool:
        if not (log.is_file() and log.read_text()):
            return False
        process.send_signal(signal.SIGSTOP)  # alive, but without work
        second = programs.run("experiments.fuse", f"--workdir={workdir}", "--resume", *TINY)
        assert second.returncode == 1 and f"in use by process {process.pid} on" in second.stderr
        return True

    before = set((workdir / "fused" / "checkpoints").glob("[0-9]*"))
    assert kill(workdir, between_checkpoints, signal.SIGTERM) == 128 + signal.SIGTERM
    assert set((workdir / "fused" / "checkpoints").glob("[0-9]*")) - before  # the next step is saved
    log.unlink()  # only the log is lost
    before = kills.unfinished(MAIN_JOB, workdir)
    kill(workdir, lambda _: kills.unfinished(MAIN_JOB, workdir) - before)
    assert not (workdir / "results" / "metrics.json").exists()
    kill_by_the_study(finished, tmp_path)
    assert kills.differences(finished, workdir) == []
    shutil.rmtree(workdir / "fused")
    shutil.copytree(workdir / "baseline", workdir / "fused")
    assert any("images" in name for name in kills.differences(finished, workdir))


MISTAKES = [
    (["--config.recon.budgett=5"], "budgett"),
    (["--config.steps=many"], "many"),
    ([*TINY, "--config.fixer=magic"], "invalid fixer='magic'"),
    (["--config.data.source=/nowhere"], "/nowhere: no such file or folder"),
    (["--config.data.source=assets:data/none"], "set FF_ASSETS"),
    (["--processes=2"], "invalid --processes=2: a scene is trained in one process"),
    (["stray"], "unknown argument 'stray'"),
]


def test_wrong_use_gets_one_sentence(tmp_path):
    calls = [[f"--workdir={tmp_path / f'run{i}'}", *arguments] for i, (arguments, _) in enumerate(MISTAKES)]
    for done, (_, sentence) in zip(programs.run_each("experiments.fuse", calls), MISTAKES, strict=True):
        assert done.returncode != 0 and sentence in done.stderr and "Traceback" not in done.stderr, done


def test_edits_of_unknown_actors_get_one_sentence(finished, tmp_path):
    wrong = {"--remove=99": "invalid actor '99': expected one of 25, 26, 27", "--move=25:left": "expected ID:X,Y,Z"}
    calls = [[f"--run={finished}", f"--out={tmp_path / 'out'}", argument] for argument in wrong]
    for done, sentence in zip(programs.run_each("experiments.edit", calls), wrong.values(), strict=True):
        assert done.returncode != 0 and sentence in done.stderr and "Traceback" not in done.stderr, done


def test_a_folder_with_a_run_is_not_overwritten(finished, tmp_path):
    before = (finished / "config.json").read_bytes()
    again = [[f"--workdir={finished}", *TINY], [f"--workdir={finished}", "--resume", *TINY, "--config.seed=4"]]
    sentences = "already holds a run", "another 'seed' setting"
    for done, sentence in zip(programs.run_each("experiments.fuse", again), sentences, strict=True):
        assert done.returncode != 0 and sentence in done.stderr and "Traceback" not in done.stderr, done
    assert (finished / "config.json").read_bytes() == before


def test_evaluate_and_render_work_on_a_finished_run(finished, tmp_path):
    networks = [f"--{name}=none" for name in ("lpips", "inception", "detector", "lanes")]  # see `evaluate_test`

    def run(module: str, *calls: tuple[str, ...]) -> list[str]:
        ends = programs.run_each(f"experiments.{module}", [(f"--run={finished}", *call) for call in calls])
        assert not any(done.returncode for done in ends), [done.stderr[-3000:] for done in ends]
        return [done.stdout for done in ends]

    (output,) = run("evaluate", (f"--out={tmp_path / 'wide'}", "--shifts=-2", "--frames=1", *networks))
    assert "2 m right" in output
    run("render", (f"--out={tmp_path / 'left'}", "--shift=0.5"))
    assert len(list((tmp_path / "left").glob("????.png"))) == 6
    changes = "--remove=25", "--move=26:3,0,0", "--duplicate=27:0,2,0,90", "--replace=26:27", "--tilt=5"
    run("edit", (f"--out={tmp_path / 'plain'}", "--tilt=5"), (f"--out={tmp_path / 'edited'}", *changes))
    plain, edited = (np.asarray(Image.open(tmp_path / name / "0000.png"), float) for name in ("plain", "edited"))
    changed = np.abs(plain - edited).max(-1)  # both have the same tilt: only the actors differ
    assert changed.max() > 8 and (changed > 8).mean() < 0.2
    assert np.asarray(Image.open(tmp_path / "edited" / "actors.png")).std() > 10


def test_a_finished_run_is_written_for_other_tools(finished, tmp_path):
    count = json.loads((finished / "results" / "metrics.json").read_text())["gaussians"]["Fused"]
    names = "a.spz", "a.sog", "a.usdc", "a.usdz", "a.ply"
    calls = [[f"--run={finished}", f"--out={tmp_path / name}"] for name in names]
    for done, name in zip(programs.run_each("experiments.convert", calls), names, strict=True):
        assert done.returncode == 0, done.stderr[-3000:]
        assert f"wrote {tmp_path / name}: {(tmp_path / name).stat().st_size} bytes" in done.stdout
    assert (tmp_path / "a.ply").read_bytes() == (finished / "results" / "scene.ply").read_bytes()
    counts = [read_gaussians(tmp_path / name).gaussians.count for name in ("a.spz", "a.sog", "a.ply")]
    assert counts[0] == counts[1] == counts[2] <= count
    for name in ("a.usdc", "a.usdz"):
        stage = Usd.Stage.Open(str(tmp_path / name))
        prims = stage.GetPrimAtPath("/scene").GetChildren()
        assert sum(len(prim.GetAttribute("positions").Get()) for prim in prims) == count
        assert {"static", "actor_25", "actor_26", "actor_27"} <= {prim.GetName() for prim in prims}
    with zipfile.ZipFile(tmp_path / "a.usdz") as archive:
        assert json.loads(archive.read("metadata.yaml"))["scene_id"] == finished.name


def test_the_loss_of_formats_is_measured_on_a_finished_run(finished, tmp_path):
    flags = f"--run={finished}", "--frames=2", "--shifts=0", f"--out={tmp_path / 'figures.json'}"
    done = programs.run("experiments.benchmarks.scene_formats", *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = {row["format"]: row for row in json.loads((tmp_path / "figures.json").read_text())["rows"]}
    assert list(rows) == [".ply", ".splat", ".spz", ".sog", ".usdc"] and "| .spz |" in done.stdout
    assert rows[".ply"]["psnr"] is None and rows[".usdc"]["psnr"] > 70 and rows[".splat"]["bytes"] == 32
    assert all(rows[name]["psnr"] > 35 for name in (".splat", ".spz", ".sog"))


def test_the_table_of_seeds_equals_that_of_their_runs(finished, tmp_path):
    (tmp_path / "seed0").symlink_to(finished)
    metrics = json.loads((finished / "results" / "metrics.json").read_text())
    before, after = (rows[-1]["psnr"] for rows in metrics["shifts"].values())
    metrics["shifts"]["Fused"][-1]["psnr"] += 2.0  # of another street
    (tmp_path / "seed1" / "results").mkdir(parents=True)
    (tmp_path / "seed1" / "results" / "metrics.json").write_text(json.dumps(metrics))
    done = programs.run("experiments.studies.seeds", f"--workdir={tmp_path}", "--seeds=0,1", *TINY)
    assert done.returncode == 0, done.stderr[-3000:]
    name, *cells = (cell.strip() for cell in done.stdout.splitlines()[-1].split("|"))
    improvement = after - before
    assert (name, cells[0], cells[1]) == ("1 m left", f"{before:.2f} +- 0.00", f"{after + 1:.2f} +- 1.41")
    assert cells[2:] == [f"{improvement + 1:.2f} +- 1.41", f"{improvement:+.2f}, {improvement + 2:+.2f}"]
