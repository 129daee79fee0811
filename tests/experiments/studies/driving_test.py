"""The study `driving` on tiny runs: agents drive, scores are printed, stored and read again, and a video is written."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from tests import programs
from tests.ff_jax.viewer import tiny_run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
FUSE = """
import runpy
import ff_jax.pipeline.fuse as pipeline
import ff_jax.runtime.run_facts as run_facts
from tests.ff_jax.viewer.tiny_run import make_run
def fuse(config, log, folder, *, resume):  # a training takes long to compile
    print("fusing", config.seed, config.data.seed, log.frames[0].width, resume)
    make_run(folder)
    (folder / "results").mkdir()
    (folder / "results" / "metrics.json").write_text("{}")
pipeline.fuse = fuse
run_facts.check_settings = lambda *_, **__: None  # a tiny run has settings of its own
runpy.run_module("experiments.studies.driving", run_name="__main__", alter_sys=True)
"""
STREET = ("--config.data.width=32", "--config.data.height=20", "--config.data.frames=3")
STREET += ("--config.data.use_lidar=False", "--config.evaluate.shifts=(0.0,)")


def python(*arguments):
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAXTYPING_DISABLE": "1"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_all_agents_are_scored_in_both_versions_and_a_video_shows_them(tmp_path):
    flags = ("--cameras=a", "--steps=2", f"--out={tmp_path / 'scores.json'}", f"--videos={tmp_path / 'videos'}")
    tiny_run.make_run(str(tmp_path / "run"))
    done = programs.run("experiments.studies.driving", f"--runs={tmp_path / 'run'}", *flags)
    assert done.returncode == 0, done.stderr[-2000:]
    stored = json.loads((tmp_path / "scores.json").read_text())
    rows = {tuple(row["key"][1:]): row["scores"] for row in stored["drives"]}
    versions, agents = ("Reconstruction only", "Fused"), ("replay", "pure_pursuit", "lane_change")
    assert list(rows) == [(version, agent) for version in versions for agent in agents]
    assert all(rows[version, "replay"]["route_completion"] == 1.0 for version in versions)
    assert all(0 <= value <= 1 for row in rows.values() for value in row.values())
    assert re.search(r"\| Fused \| replay \| 1 \| 1.000 \|", done.stdout)
    assert "| version | agent | runs | hd | no collision |" in done.stdout
    video = iio.imread(tmp_path / "videos" / "run.mp4").astype(float)
    assert len(video) == 3 and video.shape[2] > 2 * 24  # 0.25 s at 10 frames/s, both versions side by side
    left, right = video[1, 24:38, 6:30], video[1, 24:38, 36:60]  # below the labels
    assert left.std() > 10 and right.mean() > left.mean() + 5  # the fused one of this run is brighter


def test_runs_of_seeds_are_made_and_finished_drives_are_read(tmp_path):
    flags = (f"--workdir={tmp_path}", "--seeds=0,1", "--agents=pure_pursuit", "--steps=1", *STREET)
    done = python("-c", FUSE, *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "fusing 0 0 32 False" in done.stdout and "fusing 1 1 32 False" in done.stdout
    stored = json.loads((tmp_path / "drives.json").read_text())
    scores = [row["scores"]["hd"] for row in stored["drives"]]
    assert [row["key"][0] for row in stored["drives"]] == [str(tmp_path / f"seed{i}") for i in (0, 0, 1, 1)]
    cells = re.search(r"\| Fused \| pure_pursuit \| 2 \| ([\d.]+) \+- ([\d.]+) \|", done.stdout)
    assert cells is not None
    expected = [np.mean(scores[1::2]), np.std(scores[1::2], ddof=1)]
    np.testing.assert_allclose([float(x) for x in cells.groups()], expected, atol=5e-4)
    for row in stored["drives"]:
        row["scores"]["hd"] = 0.25  # what is stored is not driven again
    (tmp_path / "drives.json").write_text(json.dumps(stored))
    again = python("-c", FUSE, *flags)
    assert "fusing" not in again.stdout  # nothing is fused again
    assert "| Fused | pure_pursuit | 2 | 0.250 +- 0.000 |" in again.stdout, again.stderr[-2000:]
    other = python("-c", FUSE, *flags, "--aside=1")
    assert other.returncode == 1 and "holds drives of other settings: use another --out." in other.stderr


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--runs=a", "--agents=racer"), "invalid --agents=racer: expected replay, pure_pursuit, lane_change."),
        ((), "expected either folders of runs, or a folder with one per seed."),
        (("--runs=nowhere",), "nowhere holds no run: config.json is missing."),
    ],
)
def test_wrong_flags_end_with_a_sentence(flags, sentence):
    done = programs.run("experiments.studies.driving", *flags)
    assert done.returncode == 1 and sentence in done.stderr and "Traceback" not in done.stderr
