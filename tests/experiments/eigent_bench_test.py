"""The benchmark of the video generator, at a size that a CPU runs in seconds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_both_programs_are_timed_and_say_what_they_are():
    pytest.importorskip("torch")
    command = [sys.executable, "-m", "experiments.eigent_bench", "--layout=tiny", "--torch", "--repeats=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [next(iter(line)) for line in lines] == ["torch eager", "jax", "jax vae"]
    eager, ours, video = (next(iter(line.values())) for line in lines)
    assert ours["tokens"] == 18 and ours["attention"] == "xla" and ours["step"]["planned_gib"] > 0
    assert min(eager["step"]["ms"], eager["vae"]["ms"], ours["step"]["ms"], video["ms"]) > 0


def test_the_work_of_a_step_is_that_of_its_products():
    code = "from experiments import eigent_bench as b; c, _ = b.LAYOUTS['5b']\nprint(b.step_tflop(c), c.tokens)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    tflop, tokens = done.stdout.split()
    assert 328 < float(tflop) < 336 and int(tokens) == 17_550
