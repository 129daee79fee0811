"""Training on eight simulated devices is training on one."""

import os

import pytest

from tests import programs
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

FLAGS = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"


def test_eight_devices_train_as_one(tmp_path):
    seed = seeded_rng().integers(2**31)
    done = programs.run_process("tests.ff_jax.fixers.training.simulated_devices", seed, tmp_path, XLA_FLAGS=FLAGS)
    assert "devices ok" in done.stdout, done.stdout + done.stderr[-3000:]
