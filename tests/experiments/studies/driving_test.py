"""The study `driving` on a tiny run: both agents drive, and their scores are printed and stored."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
DRIVE = "import runpy, sys; from tests.ff_jax.viewer import tiny_run; tiny_run.make_run(sys.argv.pop());"
DRIVE += "runpy.run_module('experiments.studies.driving', run_name='__main__', alter_sys=True)"


def run(folder, *flags):
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAXTYPING_DISABLE": "1"}
    command = [sys.executable, "-c", DRIVE, f"--run={folder}", *flags, str(folder)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_both_agents_are_scored(tmp_path):
    done = run(tmp_path, "--cameras=a", "--steps=2", f"--out={tmp_path / 'scores.json'}")
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads((tmp_path / "scores.json").read_text())
    assert list(rows) == ["replay", "pure_pursuit"] and rows["replay"]["route_completion"] == 1.0
    assert all(0 <= value <= 1 for row in rows.values() for value in row.values())
    assert re.search(r"\| replay \| 1.000 \|", done.stdout) and "| agent | hd | no collision |" in done.stdout


def test_an_unknown_agent_is_one_sentence(tmp_path):
    done = run(tmp_path, "--agents=racer")
    assert done.returncode == 1 and "invalid --agents=racer: expected replay, pure_pursuit." in done.stderr
