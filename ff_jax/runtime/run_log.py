"""Log the metrics of a run by step."""

import json
import logging
import math
import re
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import ArrayLike, Float

from ff_jax.runtime.atomic_files import atomic_write, explain_full_disk
from ff_jax.runtime.untrusted_files import read_file


class Logger:
    """Metrics of a run in `metrics.jsonl` (one JSON object a line) and as TensorBoard events in `tensorboard/`.

    Use as a context manager. Every line has the keys "step" and "time" (seconds since 1970) and is flushed when `log`
    returns.
    """

    def __init__(self, workdir: str | Path, resume_step: int | None = None):
        """Open the log of `workdir`.

        Args:
            workdir: folder of the run; made if missing.
            resume_step: step of the checkpoint that the run continues from: later lines are dropped, because they
                will be written again. None starts a new file.

        Raises:
            DiskFullError: the disk is full.
        """
        self.path = Path(workdir) / "metrics.jsonl"
        records = [] if resume_step is None else [r for r in _read_records(self.path) if r["step"] <= resume_step]
        with atomic_write(self.path) as temporary:
            temporary.write_text("".join(json.dumps(record) + "\n" for record in records))
        self._file = self.path.open("a")
        from tensorboardX import SummaryWriter  # lazy: imports PyTorch if installed

        with explain_full_disk(self.path):
            self._board = SummaryWriter(
                str(self.path.parent / "tensorboard"),
                purge_step=None if resume_step is None else resume_step + 1,
            )

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Append one line of scalars (numbers, 0-d arrays, or text) of `step`.

        Non-finite numbers are stored as null, which `read_metrics` reads as NaN.

        Raises:
            DiskFullError: the disk is full.
        """
        values = {name: _scalar(name, value) for name, value in metrics.items()}
        stored = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        line = json.dumps({"step": int(step), "time": round(time.time(), 3), **stored}, allow_nan=False)
        with explain_full_disk(self.path):
            self._file.write(line + "\n")
            self._file.flush()
            for name, value in values.items():
                if not isinstance(value, str):
                    self._board.add_scalar(name, value, int(step))

    def image(self, step: int, name: str, picture: Float[ArrayLike, "H W 3"]) -> None:
        """Add a picture with colors in [0, 1] to TensorBoard under `name`."""
        with explain_full_disk(self.path):
            self._board.add_image(name, np.clip(np.asarray(picture), 0, 1), int(step), dataformats="HWC")

    def close(self) -> None:
        """Flush and close the files."""
        with explain_full_disk(self.path):
            self._file.close()
            self._board.close()

    def __enter__(self) -> "Logger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Read the lines of a `metrics.jsonl` in order; null becomes NaN, incomplete lines are dropped."""
    return [{k: math.nan if v is None else v for k, v in record.items()} for record in _read_records(Path(path))]


def _read_records(path: Path) -> list[dict[str, Any]]:
    lines = read_file(path).splitlines() if path.exists() else []
    parsed = [_parse_record(line) for line in lines]
    records = [record for record in parsed if record is not None]
    num_damaged = sum(record is None for record in parsed[:-1])  # the last line may be that of a killed process
    if num_damaged:
        logging.getLogger(__name__).warning("%s: %d damaged line(s) are left out", path, num_damaged)
    return records


def _parse_record(line: bytes) -> dict[str, Any] | None:
    """Parse a line, or return None if it is damaged."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    kinds = (int, float, str, type(None))
    is_record = isinstance(record, dict) and type(record.get("step")) is int
    return record if is_record and all(isinstance(value, kinds) for value in record.values()) else None


def _scalar(name: str, value: Any) -> bool | int | float | str:
    """Convert a metric to a plain Python value."""
    if isinstance(value, str):
        return value
    if np.size(value) != 1:
        raise ValueError(f"metric {name!r} must be one number, got shape {np.shape(value)}: reduce it first")
    return np.asarray(value).reshape(()).item()


def peak_memory() -> dict[str, int]:
    """Measure the peak memory of this process in bytes: on the first device (0 if unknown) and on the host."""
    device = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    return {"peak_device_bytes": device, "peak_host_bytes": _peak_host_bytes()}


def _peak_host_bytes() -> int:
    # VmHWM counts this program alone; getrusage includes memory of the parent process at the fork.
    status = Path("/proc/self/status")
    match = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.is_file() else None
    if match:
        return int(match[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
