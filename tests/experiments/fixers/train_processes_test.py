"""Training of fixers in two processes by command line: both train and save, one process resumes."""

import json
import os
import socket

import pytest

from experiments.studies.measures.robustness.small_trainings import write_views
from ff_jax.runtime import checkpoint
from tests import programs
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

FLAGS = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=1"
PROGRAM = "tests.experiments.fixers.train_processes"
# An expired limit: every process stops at the first checkpoint, within the first phase.
SHORT = ("--save_every=1", "--minutes=1e-9", "--held=1", "--vgg=none.npz", "--crop=8,8")
RUNS = {
    "difix": ("pairs", "autoencoder", ("--vae_steps=3", "--steps=1", "--batch=2")),
    "eigent": ("clips", "vae", ("--steps=3,1,1,1", "--batch=2,2,2,2")),
}


def train(name, place, *others):
    """Train in one process per list of flags, and return their outputs."""
    data_flag, _, own = RUNS[name]
    flags = name, f"--out={place / 'out'}", f"--{data_flag}={place}", *SHORT, *own
    ends = programs.run_together(PROGRAM, [(*flags, *more) for more in others], XLA_FLAGS=FLAGS)
    assert not any(done.returncode for done in ends), [done.stderr[-3000:] for done in ends]
    return [done.stdout for done in ends]


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_save_and_one_resumes(name, tmp_path):
    write_views(tmp_path, (16, 16), seeded_rng())
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    both = f"--coordinator=localhost:{port}", "--processes=2"
    outputs = train(name, tmp_path, *((*both, f"--process={number}") for number in range(2)))
    phase, weights = tmp_path / "out" / RUNS[name][1], tmp_path / "out" / "tiny.safetensors"
    assert checkpoint.latest(phase) == 1 and weights.stat().st_size > 1000
    assert ["tiny.safetensors" in out for out in outputs] == [True, False]  # the first one writes
    first = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert first and all(record["step"] == 1 for record in first)
    before = weights.read_bytes()
    train(name, tmp_path, ())
    assert checkpoint.latest(phase) == 2 and weights.read_bytes() != before


def test_a_reference_unet_is_trained_on_logs_and_chosen_on_another(tmp_path):
    for name, size in (("street", (24, 32)), ("rig", (32, 24)), ("third", (24, 24))):
        write_views(tmp_path / "pairs" / name, size, seeded_rng())
    flags = [f"--pairs={tmp_path / 'pairs'}", f"--out={tmp_path / 'out'}", "--steps=2", "--batch=3", "--crop=24,24"]
    flags += ["--check_every=1", "--max_validation=2", "--lpips=none.npz"]
    runs = [("reference_unet", *flags, f"--validation={name}") for name in ("third", "fourth")]
    done = programs.run_each(PROGRAM, runs)
    assert done[0].returncode == 0, done[0].stderr[-3000:]
    assert "36 pairs of 2 logs, 2 validation pairs" in done[0].stdout
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2] and all(line["psnr_render"] > 0 for line in lines)
    assert all((tmp_path / "out" / f"{name}.safetensors").stat().st_size > 1000 for name in ("tiny", "last"))
    assert "invalid --validation=fourth: expected one of at least two folders" in done[1].stderr
