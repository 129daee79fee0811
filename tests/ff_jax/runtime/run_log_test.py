"""Metrics and run facts."""

import errno
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import tensorboardX

from ff_jax.runtime import run_log
from ff_jax.runtime.atomic_files import DiskFullError


def test_lines_are_plain_json_and_are_there_at_once(tmp_path):
    with run_log.Logger(tmp_path) as logger:
        logger.log(3, {"loss": jnp.float32(0.5), "count": np.int64(4), "stage": "fuse", "bad": jnp.nan})
        (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
        logger.image(3, "render", np.full((4, 5, 3), 1.5, np.float32))
    stored = json.loads(line, parse_constant=pytest.fail)
    assert abs(stored.pop("time") - time.time()) < 60
    assert stored == {"step": 3, "loss": 0.5, "count": 4, "stage": "fuse", "bad": None}
    (record,) = run_log.read_metrics(tmp_path / "metrics.jsonl")
    assert math.isnan(record["bad"]) and record["stage"] == "fuse"
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    assert b"loss" in content and b"render" in content


def test_resume_drops_later_and_torn_lines(tmp_path):
    with run_log.Logger(tmp_path) as logger:
        for step in range(5):
            logger.log(step, {"loss": float(step)})
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 2, "lo')
    with run_log.Logger(tmp_path, resume_step=2) as logger:
        logger.log(3, {"loss": 30.0})
    assert [r["loss"] for r in run_log.read_metrics(path)] == [0, 1, 2, 30]
    with run_log.Logger(tmp_path):
        assert run_log.read_metrics(path) == []


@pytest.mark.parametrize("damage", [b"\xff\xfe", b"[" * 100_000, b'{"step": "2"}', b'{"step": 2, "loss": [1]}', b"7"])
def test_damaged_lines_are_left_out_with_a_warning(tmp_path, damage, caplog):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "loss": 1.0}\n' + damage + b'\n{"step": 3, "loss": 3.0}\n')
    assert [record["step"] for record in run_log.read_metrics(path)] == [1, 3]
    assert f"{path}: 1 damaged" in caplog.text


def test_tensorboard_hides_the_steps_that_are_done_again(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(tensorboardX, "SummaryWriter", lambda folder, purge_step: seen.append(purge_step) or _Silent())
    run_log.Logger(tmp_path, resume_step=7).close()
    run_log.Logger(tmp_path).close()
    assert seen == [8, None]


class _Silent(tensorboardX.SummaryWriter):
    def __init__(self):
        super().__init__(write_to_disk=False)


def test_vectors_are_refused(tmp_path):
    with (
        run_log.Logger(tmp_path) as logger,
        pytest.raises(ValueError, match=r"'loss' must be one number.*\(2,\)"),
    ):
        logger.log(1, {"loss": jnp.ones(2)})


def test_full_disk_is_one_sentence(tmp_path):
    with run_log.Logger(tmp_path) as logger:

        class Full:
            def write(self, _):
                raise OSError(errno.ENOSPC, "No space left on device")

            def close(self):
                pass

        logger._file.close()
        logger._file = Full()
        with pytest.raises(DiskFullError, match=r"no space is left on the disk to write .*metrics\.jsonl"):
            logger.log(1, {"loss": 1.0})


@pytest.mark.slow
def test_peak_memory_grows_with_what_is_held():
    # In a process of its own: here an earlier test may have held more.
    code = (
        "import numpy as np; from ff_jax.runtime.run_log import peak_memory as peak; a = peak(); "
        "block = np.ones(400_000_000, np.uint8); b = peak(); print(a['peak_host_bytes'], b['peak_host_bytes'])"
    )
    held = np.ones(600_000_000, np.uint8)  # must not be counted as the child's own
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after >= len(held) * 2 // 3
    status = Path("/proc/self/status")
    if status.is_file() and "VmHWM" in status.read_text():  # elsewhere only the parent's peak may be known
        assert 2e8 < after - before < 6e8
    assert run_log.peak_memory()["peak_device_bytes"] >= 0
