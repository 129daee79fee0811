"""The benchmarks of the fixers, at sizes that a CPU runs in seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import programs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


def run_tiny(module, *flags, **environment):
    """Run a benchmark of a tiny network; return name and figures of every line."""
    done = programs.run_process(module, "--layout=tiny", "--repeats=1", *flags, **environment)
    assert done.returncode == 0, done.stderr
    return [next(iter(json.loads(line).items())) for line in done.stdout.splitlines()]


def test_both_video_programs_are_timed():
    pytest.importorskip("torch")
    names, figures = zip(*run_tiny("experiments.benchmarks.eigent", "--torch"), strict=True)
    assert names == ("torch eager", "jax", "jax vae")
    eager, ours, video = figures
    assert ours["tokens"] == 18 and ours["attention"] == "xla" and ours["step"]["planned_gib"] > 0
    assert min(eager["step"]["ms"], eager["vae"]["ms"], ours["step"]["ms"], video["ms"]) > 0


def test_training_is_timed_on_two_devices():
    devices = {"XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"}
    ((name, figures),) = run_tiny("experiments.benchmarks.eigent", "--train=2", **devices)
    assert name == "training" and figures["devices"] == 2
    assert figures["clips_per_s"] == pytest.approx(2e3 / figures["ms"], rel=1e-3)
    assert figures["tokens_per_s"] == pytest.approx(18 * figures["clips_per_s"], rel=1e-3)


def test_both_image_programs_are_timed():
    pytest.importorskip("torch")
    names, figures = zip(*run_tiny("experiments.benchmarks.difix", "--torch"), strict=True)
    assert names == ("torch eager", "jax", "jax with EIG")
    assert min(figures[0]["repair"]["ms"], figures[1]["ms"], figures[2]["ms"]) > 0 and figures[1]["size"] == [64, 64]


def test_the_work_of_a_step_is_that_of_its_products():
    code = "from experiments.benchmarks import eigent as b; c, _ = b.LAYOUTS['5b']\nprint(b.step_tflop(c), c.tokens)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    tflop, tokens = done.stdout.split()
    assert 328 < float(tflop) < 336 and int(tokens) == 17_550
