"""The training of generators in two processes, as it is started by hand: both train and save, one goes on."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ff_jax.generators.pair_files import Pairs, save, shard_path
from ff_jax.train import checkpoint

ROOT = Path(__file__).parents[2]
FLAGS = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=1"
VARIABLES = {"XLA_FLAGS": FLAGS, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
# A limit that has passed: every process stops at the first checkpoint, within the first phase.
SHORT = ("--save_every=1", "--minutes=1e-9", "--held=1", "--vgg=none.npz", "--crop=8,8")
RUNS = {
    "difix": ("pairs", "autoencoder", ("--vae_steps=3", "--steps=1", "--batch=2")),
    "eigent": ("clips", "vae", ("--steps=3,1,1,1", "--batch=2,2,2,2")),
}


def start(name, place, *flags):
    command = [sys.executable, "-m", "tests.experiments.train_processes", name, f"--out={place / 'out'}"]
    given, _, own = RUNS[name]
    command += [f"--{given}={place}", *SHORT, *own, *flags]
    parts = {"cwd": ROOT, "env": os.environ | VARIABLES, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, **parts, text=True)


def finish(children):
    try:
        outputs = [child.communicate(timeout=900) for child in children]
    finally:
        for child in children:
            child.kill()
    assert [child.returncode for child in children] == [0] * len(children), [error[-3000:] for _, error in outputs]
    return outputs


def write_views(folder, size):
    """Write two streets of one clip, or of 9 single views."""
    for seed in range(2):
        rng = np.random.default_rng()
        image = lambda rng=rng: rng.integers(0, 256, (9, *size, 3), np.uint8)
        other = {name: rng.random((9, *size)).astype(np.float16) for name in ("eig", "depth")}
        poses = {"K": np.ones((9, 3, 3), np.float32), "world_from_camera": np.ones((9, 4, 4))}
        numbers = {"shift": np.ones(9, np.float32), "steps": np.ones(9, np.int32)}
        images = {name: image() for name in ("render", "truth", "nearest", "aligned")}
        save(shard_path(folder, seed), Pairs(**images, **other, **poses, **numbers))


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_save_and_one_goes_on(name, tmp_path):
    write_views(tmp_path, (16, 16))
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    both = f"--coordinator=localhost:{port}", "--processes=2"
    outputs = finish([start(name, tmp_path, *both, f"--process={number}") for number in range(2)])
    phase, weights = tmp_path / "out" / RUNS[name][1], tmp_path / "out" / "tiny.safetensors"
    assert checkpoint.latest(phase) == 1 and weights.stat().st_size > 1000
    assert ["tiny.safetensors" in out for out, _ in outputs] == [True, False]  # the first one writes
    first = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert first and all(record["step"] == 1 for record in first)
    before = weights.read_bytes()
    finish([start(name, tmp_path)])
    assert checkpoint.latest(phase) == 2 and weights.read_bytes() != before
