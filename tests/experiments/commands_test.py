"""Run documented commands that no other test runs, each once and small, and check their results."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from ff_jax.data.folder import write_folder
from ff_jax.fixers.pair_files import load, shard_path
from tests import programs
from tests.experiments.commands import RUNS
from tests.ff_jax.data import tiny

pytestmark = pytest.mark.slow

NETWORKS = ["--lpips=none", "--inception=none", "--detector=none", "--lanes=none"]
CHECKS = {}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    return write_folder(tiny.make_scene(folder / "files"), folder / "log")


@pytest.mark.parametrize("module", RUNS)
def test_the_command_runs(module, log, tmp_path):
    if "torch" in module:
        pytest.importorskip("torch")
    run = programs.run_process if "torch" in module else programs.run  # it sets the number of devices
    done = run(module, *(flag.format(out=tmp_path, log=log) for flag in RUNS[module]))
    assert done.returncode == 0, done.stderr[-3000:]
    CHECKS[module](done.stdout, tmp_path)


def check(module):
    """Register the check of what an entry point prints and writes."""
    return lambda function: CHECKS.setdefault(module, function)


@check("experiments.studies.fusing")
def _(output, out):
    rows = json.loads((out / "rows.json").read_text())["rows"]
    assert {(row["step"], row["scene"]) for row in rows} == {
        *((1, "recorded"), (3, "recorded"), (3, "fused"), (4, "recorded"), (4, "fused"), (4, "oracle"))
    }
    whole = [row for row in rows if row["region"] == "all" and row["scene"] != "oracle"]
    assert all(row["psnr_render"] == row["psnr_fixed"] for row in whole)  # the fixer changes nothing
    best = {row["shift"]: row["psnr_oracle"] for row in rows if row["scene"] == "oracle"}
    assert best and all(best[row["shift"]] >= row["psnr_render"] for row in whole if row["step"] == 4)
    assert output.startswith("| step | shift, m |")


@check("experiments.benchmarks.time_to_quality")
def _(output, out):
    figures = json.loads((out / "time_to_quality.json").read_text())
    (score,) = figures["scores"]
    assert score["step"] == 4 and 5 < score["psnr"] < 40
    assert 0 < figures["first_step_seconds"] <= figures["training_seconds"] == score["seconds"]
    rows = {row["program"]: row for row in figures["programs"]}
    # Once, beside each other, unless an earlier test of this process has compiled them.
    for row in (rows[name] for name in ("view_gradient", "update_state") if name in rows):
        assert (row["count"], row["num_ahead"]) == (1, 1)
    assert rows and "_render" not in rows  # it scores
    assert f"training finished after {score['seconds']:.1f} s" in output and "Held-out views" in output


def columns(table):
    """Return the numbers of the first row of a Markdown table by the names of its columns, but the first column's."""
    head, _, row = ([cell.strip() for cell in line.strip(" |").split("|")] for line in table.splitlines()[:3])
    assert row[0] == "0", table
    return dict(zip(head[1:], map(float, row[1:]), strict=True))


def stored(out):
    return json.loads((out / "seed0" / "figures.json").read_text())


def is_picture(path, width, height):
    picture = np.asarray(Image.open(path).convert("RGB"))
    return picture.std() > 10 and picture.shape[1] >= width and picture.shape[0] >= height


@check("experiments.studies.poses")
def check_poses(output, out):
    found = columns(output)
    assert found == {
        f"0.2 m, 2 deg: {name.replace('_', ' ')}": pytest.approx(value, abs=1e-3)
        for name, value in stored(out)["0.2 m, 2 deg"].items()
    }
    before, smooth, after = (found[f"0.2 m, 2 deg: degrees {when}"] for when in ("before", "smooth", "after"))
    assert 0.5 < before < 4 and smooth < before and abs(after - smooth) < 0.05  # one step turns nothing far


@check("experiments.studies.exposure")
def check_exposure(output, out):
    found = columns(output)
    assert len(found) == 4 * 3 + 2 and list(stored(out))[:2] == ["steady, one exposure", "steady, one per image"]
    assert all(8 < value < 40 for name, value in found.items() if not name.startswith("drift: "))
    assert 0.005 < found["drift: before"] < 0.3 and abs(found["drift: after"] - found["drift: before"]) < 0.02


@check("experiments.studies.actors")
def check_actors(output, out):
    cells = stored(out)
    assert f"| 0 | {cells['static']['moving']:.2f} | {cells['actors']['moving']:.2f} |" in output
    assert all(8 < cells[name]["whole"] < 40 for name in ("static", "actors", "wrong_boxes"))
    assert re.search(r"\| boxes off, m \| recovered, m \|", output)
    assert is_picture(out / "seed0" / "edits.png", 64, 40) and is_picture(out / "seed0" / "held_out.png", 64, 20)


@check("experiments.studies.next_view")
def check_next_view(output, out):
    found, row = json.loads((out / "seed0" / "next_view.json").read_text()), columns(output)
    assert set(found) == {"information", "farthest", "random0"} and (out / "table.md").read_text().strip() in output
    for name, one in found.items():
        assert one["views"][:2] == [0, 4] and len({*one["views"]} & {*range(8)}) == 3 and len(one["psnr"]) == 8
        psnr, of = np.array(one["psnr"]), name.rstrip("0")
        assert row[f"mean of views: {of}"] == pytest.approx(psnr.mean(), abs=0.01) and 5 < psnr.mean() < 40
        squared = np.mean(10 ** (-psnr / 10))
        assert row[f"all pixels: {of}"] == pytest.approx(-10 * np.log10(squared), abs=0.01)
        assert row[f"worst view: {of}"] == pytest.approx(psnr.min(), abs=0.01)


@check("experiments.studies.eig_calibration")
def check_eig_calibration(output, out):
    found = json.loads((out / "study.json").read_text())
    assert {"1 m left", "all", "all but sky"} == set(found["mean"]) and found["threshold"] > 0
    assert output.startswith((out / "table.md").read_text()) and "| exact |" in output
    assert all(0 < one["ause"] < 2 for one in found["mean"]["all"]["methods"].values())
    assert is_picture(out / "all.png", 300, 200) and is_picture(out / "seed0" / "maps_+1.00m.png", 32, 20)


@check("experiments.reconstruct")
def check_reconstruct(output, out):
    (row,) = json.loads((out / "run" / "results" / "metrics.json").read_text())["shifts"]["Reconstruction only"]
    assert 3 < row["psnr"] < 40 and f"{row['psnr']:.2f}" in output and f"{out}/run/results/index.html" in output
    assert "data:image/png;base64" in (out / "run" / "results" / "index.html").read_text()


@check("experiments.benchmarks.metrics")
def check_metrics(output, out):
    found = json.loads((out / "metric_bench.json").read_text())
    assert [mark["views"] for mark in found["marks"]] == [25, 27] and found["seconds_per_view"] > 0
    assert "s per view of 32 x 20" in output and is_picture(out / "0.png", 32, 20)


@check("experiments.benchmarks.rendering")
def check_rendering(output, out):
    (row,) = json.loads((out / "figures.json").read_text())
    assert json.loads(output.splitlines()[-1]) == row and row["gaussians"] == 300
    ours, eig = row["ours"], row["eig"]
    assert min(ours["forward"], ours["forward+backward"], *row["stages"].values(), eig["posterior"]) > 0
    assert 0 < ours["memory_MB"]["forward"] <= ours["memory_MB"]["forward+backward"]


@check("experiments.tools.contact_sheet")
def check_contact_sheet(output, out):
    sheet = np.asarray(Image.open(out / "new" / "sheet.png"))
    assert sheet.shape == (20, 4 * 32, 3) and "1 streets in" in output
    front, beside, depth, labels = (sheet[:, i : i + 32].astype(float) for i in range(0, 128, 32))
    assert min(picture.std() for picture in (front, beside, depth, labels)) > 10
    assert np.abs(front - beside).mean() > 5 and (depth == 0).all(-1).mean() > 0.05  # another place; sky is black


@check("experiments.benchmarks.baselines.torch_cpu")
def check_torch_cpu(output, out):
    differences = [float(value) for value in re.findall(r"(?:difference|relative) (\S+?),? *(?:mean|$)", output, re.M)]
    assert len(differences) == 1 + 5 and max(differences) < 1e-4
    assert re.search(r"300_64x48, \d+ threads, 2 devices: \d+ ms here, \d+ ms PyTorch, ratio", output)


@check("kernels.tools.bench")
def check_kernel_timing(output, out):
    device, row = output.splitlines()
    name, _, figures = row.partition(" ")
    figures = json.loads(figures.replace("'", '"'))
    assert device.startswith("cpu") and name == "300_64x48" and figures.pop("intersections") > 0
    assert len(figures) == 6 and min(figures.values()) >= 0 and figures["all with gradients"] > 0


def test_pairs_of_a_log_are_made_and_judged(log, tmp_path):
    small = ["--config.recon.budget=300", "--config.init.points=200", "--config.steps=1", "--config.schedule.start=1"]
    small += [f"--config.data.source={log}", "--config.data.width=0"]
    views = tmp_path / "views"
    config = "--config=experiments/configs/kitti_stereo.py"
    made = programs.run("experiments.fixers.make_pairs", f"--out={views}", config, *small, "--target=b")
    assert made.returncode == 0, made.stderr[-3000:]
    pairs = load([shard_path(views, 0)])
    assert pairs.render.shape == (1, 16, 24, 3) and pairs.render.std() > 1 and pairs.steps.tolist() == [1]
    before = shard_path(views, 0).read_bytes()
    again = programs.run("experiments.fixers.make_pairs", f"--out={views}", "--seeds=0:2", "--part=0/2", "--clip=9")
    assert again.returncode == 0 and shard_path(views, 0).read_bytes() == before  # nothing is made twice
    done = programs.run("experiments.studies.fixers", f"--out={tmp_path}", "--streets=0:1", *NETWORKS)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    whole = {row["fixer"]: row for row in rows if row["region"] == "all"}
    assert {"render", "difix", "no blending"} <= set(whole) and whole["render"]["change"] == 0
    assert all(3 < row["psnr"] < 40 for row in whole.values()) and whole["no blending"]["change"] > 0
    assert (tmp_path / "table.md").read_text() in done.stdout and is_picture(tmp_path / "panel.png", 48, 16)


MISTAKES = {
    (
        "experiments.benchmarks.baselines.gsplat_mcmc",
        "--out={out}/a.json",
        "--config=experiments/configs/kitti_stereo.py",
    ): "gsplat ",
    ("experiments.benchmarks.rendering", "--baseline", "--scenes=300_64x48"): "gsplat ",
    ("experiments.benchmarks.rendering", "--scenes=many"): "invalid --scenes=many: expected some of",
    ("experiments.benchmarks.baselines.torch_cpu", "--scene=many"): "unknown scene many: expected one of",
    ("kernels.tools.bench", "many"): "unknown scene many: expected one of",
    ("kernels.tools.tune", "300_64x48"): "block sizes need an NVIDIA GPU",
    ("experiments.tools.contact_sheet", "--seeds=a"): "invalid --seeds='a': expected whole numbers",
    ("experiments.tools.contact_sheet", "--frame=999"): "invalid --frame=999: expected a number from 0 to",
    (
        "experiments.benchmarks.metrics",
        "--workdir={out}",
        "--frames=8",
    ): "--frames=8: 8 is not an integer in the range [9, 100000]",
    (
        "experiments.studies.next_view",
        "--workdir={out}",
        "--moments=4",
        "--views=9",
    ): "invalid --views=9: expected at most 8",
}


@pytest.mark.parametrize("command", MISTAKES, ids=" ".join)
def test_what_is_not_possible_is_one_sentence(command, tmp_path):
    done = programs.run(command[0], *(flag.format(out=tmp_path) for flag in command[1:]))
    assert done.returncode and MISTAKES[command] in done.stderr and "Traceback" not in done.stderr, done.stderr[-2000:]
