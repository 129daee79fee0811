"""A long log of several cameras: the memory of the host does not grow with the number of frames."""

import subprocess
import sys

import pytest

from tests.ff_jax.train import long_log

pytestmark = pytest.mark.slow

WIDTH, HEIGHT = 320, 200
CACHE = 32 << 20  # bytes on the device, which is host memory here; one batch takes 1.4 MB
REST = 256 << 20  # decoders, threads, the batches that are being loaded
NUM_BATCHES = 300  # 420 MB


@pytest.fixture(scope="module")
def peaks(tmp_path_factory, request):
    """Measure the peak memory before and after loading, with 20 and with 200 time steps of five cameras."""
    measured = {}
    for steps in (20, 200):
        folder = tmp_path_factory.mktemp("long") / str(steps)
        long_log.write(folder, steps, WIDTH, HEIGHT)
        command = [sys.executable, "-m", "tests.ff_jax.train.long_log", "load", folder, NUM_BATCHES, CACHE]
        options = {"cwd": request.config.rootpath, "capture_output": True, "text": True}
        done = subprocess.run(list(map(str, command)), **options, timeout=300)
        assert done.returncode == 0, done.stderr
        before, after, _ = done.stdout.split()
        measured[steps] = int(before), int(after)
    return measured


def test_memory_does_not_grow_with_the_log(peaks):
    (_, few), (_, many) = peaks[20], peaks[200]
    assert many - few < 64 << 20


@pytest.mark.parametrize("steps", [20, 200])
def test_memory_stays_under_its_bound(peaks, steps):
    before, after = peaks[steps]
    assert after - before < CACHE + REST
