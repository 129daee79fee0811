"""Training on eight simulated devices is training on one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[4]


def test_eight_devices_train_as_one(tmp_path):
    flags = {
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # what takes long is compiling
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
    }
    seed = str(np.random.default_rng().integers(2**31))
    command = [sys.executable, "-m", "tests.ff_jax.generators.training.devices", seed, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | flags, capture_output=True, text=True, timeout=600)
    assert "devices ok" in done.stdout, done.stdout + done.stderr[-3000:]
