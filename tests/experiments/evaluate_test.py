"""The benchmark as users run it: images of another program, networks by flag, errors in one sentence."""

import json
import os

import numpy as np
import pytest

from ff_jax.data.folder import write_folder
from ff_jax.data.loader import load_image
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.export.image_bytes import save_png
from tests import programs
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

NONE = [f"--{name}=none" for name in ("lpips", "inception", "detector", "lanes")]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    scene = street_log(4, StreetConfig(num_frames=3, moving=False), 64, 40, test_shifts=(2.0,))
    return scene, write_folder(scene, tmp_path_factory.mktemp("logs") / "street")


def test_images_of_another_program_are_scored(log, tmp_path):
    scene, folder = log
    rng = seeded_rng()
    expected = []
    for i, frame in enumerate(f for f in scene.frames if f.split == "test"):
        image = load_image(frame)
        rendered = np.round(np.clip(image + 0.1 * rng.normal(size=image.shape), 0, 1) * 255) / 255
        save_png(tmp_path / "theirs" / "+2.00m" / f"{i:02d}.png", rendered)
        expected.append(-10 * np.log10(((rendered - np.round(image * 255) / 255) ** 2).mean()))
    images = f"--images=theirs={tmp_path / 'theirs'}"
    done = programs.run(
        "experiments.evaluate", f"--source={folder}", images, "--shifts=2", f"--out={tmp_path / 'out'}", *NONE
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (result,) = json.loads((tmp_path / "out" / "metrics.json").read_text())["results"]
    assert result["version"] == "theirs" and result["psnr"]["count"] == 3
    assert result["psnr"]["mean"] == pytest.approx(np.mean(expected), abs=1e-3)
    assert f"{np.mean(expected):.2f}" in done.stdout and "2 m left" in done.stdout
    assert {"index.html", "tables.md", "tables.tex"} <= {path.name for path in (tmp_path / "out").iterdir()}


MISTAKES = [
    ([], "nothing to score"),
    (["--source=LOG", "--images=theirs"], "invalid --images=theirs: expected NAME=FOLDER"),
    (["--source=LOG", "--images=theirs=/nowhere"], "/nowhere is not a folder"),
    (["--source=LOG", "--images=a=recorded", "--lpips=/nowhere.npz"], "path='/nowhere.npz'"),
    (["--source=LOG", "--images=a=recorded", "--lpips=https://example.org/a.npz"], "sha256=''"),
    (["--run=/nowhere"], "/nowhere holds no run"),
]


def test_mistakes_end_in_one_sentence(log, tmp_path):
    def whole(arguments):
        none = [flag for flag in NONE if not any(a.startswith(flag.split("=")[0] + "=") for a in arguments)]
        return [f"--out={tmp_path / 'out'}", *(a.replace("LOG", str(log[1])) for a in arguments), *none]

    ends = programs.run_each("experiments.evaluate", [whole(arguments) for arguments, _ in MISTAKES])
    for done, (_, sentence) in zip(ends, MISTAKES, strict=True):
        assert done.returncode != 0 and "Traceback" not in done.stderr
        assert sentence in done.stderr.splitlines()[-1], done.stderr[-2000:]


def test_missing_networks_are_left_out_and_reported(log, tmp_path):
    arguments = [f"--source={log[1]}", "--images=real=recorded", f"--out={tmp_path / 'out'}"]
    done = programs.run("experiments.evaluate", *arguments, FF_ASSETS=str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "LPIPS (npz or safetensors) is left out; set --lpips" in done.stderr
    sources = json.loads((tmp_path / "out" / "metrics.json").read_text())["facts"]["networks"]
    assert all(sources[name].startswith("left out") for name in ("lpips", "inception", "detector", "lanes"))


@pytest.mark.assets
def test_without_onnxruntime_its_metrics_are_left_out(log, assets, tmp_path):
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "onnxruntime.py").write_text("raise ImportError('not here')")
    path = os.pathsep.join(filter(None, (str(tmp_path / "without"), os.environ.get("PYTHONPATH"))))
    environment = {"FF_ASSETS": str(assets), "PYTHONPATH": path}
    arguments = [f"--source={log[1]}", "--images=real=recorded", f"--out={tmp_path / 'out'}", "--inception=none"]
    done = programs.run_process("experiments.evaluate", *arguments, **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("pip install onnxruntime") == 2 and "LPIPS" in done.stdout
    lanes = assets / "weights" / "twinlitenet" / "twinlitenet_360x640.onnx"
    done = programs.run_process("experiments.evaluate", *arguments, f"--lanes={lanes}", **environment)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "ONNX networks need onnxruntime" in done.stderr.splitlines()[-1]


@pytest.mark.assets
def test_true_images_reach_the_ceiling_of_every_network(log, assets, tmp_path):
    arguments = [f"--source={log[1]}", "--images=real=recorded", f"--out={tmp_path / 'out'}", "--shifts=0,2"]
    done = programs.run("experiments.evaluate", *arguments, FF_ASSETS=str(assets))
    assert done.returncode == 0, done.stderr[-3000:]
    at = {row["shift"]: row for row in json.loads((tmp_path / "out" / "metrics.json").read_text())["results"]}
    assert abs(at[0.0]["fid"]["mean"]) < 1e-3 < 1 < at[2.0]["fid"]["mean"]
    assert at[2.0]["lpips"]["mean"] < 1e-6 and at[2.0]["ssim"]["mean"] > 0.999
    assert {"nta_strict", "ntl", "lane", "background"} <= set(at[2.0])


@pytest.mark.assets
def test_the_metric_study_writes_its_tables_and_picture(assets, tmp_path, optimized):
    size = ["--seeds=0", "--frames=4", "--width=64", "--height=40"]
    done = programs.run_process("experiments.studies.metrics", f"--workdir={tmp_path}", *size, FF_ASSETS=str(assets))
    assert done.returncode == 0, done.stderr[-3000:]
    values = json.loads((tmp_path / "metrics.json").read_text())["values"]
    psnr = [values[f"noise {level}"][0]["psnr"] for level in ("0.02", "0.05", "0.1", "0.2")]
    assert psnr == sorted(psnr, reverse=True) and psnr[0] == pytest.approx(34, abs=1)
    tables = (tmp_path / "tables.md").read_text()
    assert "a network that finds no lane at all" in tables and "| FID ↓" not in tables
    assert (tmp_path / "sanity.png").stat().st_size > 10_000
