"""What a run leaves behind besides its results: metrics by step, its facts, and progress on the terminal."""

import importlib.metadata
import json
import math
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import ArrayLike, Float
from tqdm import tqdm

from ff_jax.runtime.atomic_files import explain_full_disk, replacing

PACKAGES = (
    "jax",
    "jaxlib",
    "numpy",
    "scipy",
    "flax",
    "optax",
    "orbax-checkpoint",
    "jaxlie",
    "diffusers",
    "pillow",
)


class Logger:
    """Metrics of a run as `metrics.jsonl` (one JSON object a line) and as TensorBoard events in
    `tensorboard/`.

    Use as a context manager. Every line has the keys "step" and "time" (seconds since 1970) and is on its
    way to the disk when `log` returns.
    """

    def __init__(self, workdir: str | Path, resume_step: int | None = None):
        """Open the log of `workdir`.

        Args:
            workdir: folder of the run; made if missing.
            resume_step: last step of the checkpoint that the run goes on from: later lines are dropped,
            because
                they will be written again. None starts a new file.

        Raises:
            DiskFullError: if the disk is full.
        """
        self.path = Path(workdir) / "metrics.jsonl"
        kept = [] if resume_step is None else [r for r in _records(self.path) if r["step"] <= resume_step]
        with replacing(self.path) as temporary:
            temporary.write_text("".join(json.dumps(record) + "\n" for record in kept))
        self._file = self.path.open("a")
        from tensorboardX import SummaryWriter  # which imports PyTorch where it is installed: that takes seconds

        with explain_full_disk(self.path):
            self._board = SummaryWriter(
                str(self.path.parent / "tensorboard"),
                purge_step=None if resume_step is None else resume_step + 1,
            )

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Append one line of scalars (numbers, 0-d arrays, or text) that belong to `step`.

        Numbers that are not finite are stored as null, which `read_metrics` returns as NaN.

        Raises:
            DiskFullError: if the disk is full.
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
        """Show a picture with colours in [0, 1] under `name` in TensorBoard."""
        with explain_full_disk(self.path):
            self._board.add_image(name, np.clip(np.asarray(picture), 0, 1), int(step), dataformats="HWC")

    def close(self) -> None:
        """Write what is still buffered and close the files."""
        with explain_full_disk(self.path):
            self._file.close()
            self._board.close()

    def __enter__(self) -> "Logger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Return the lines of a `metrics.jsonl` in order; null becomes NaN, lines cut short by a kill go."""
    return [{k: math.nan if v is None else v for k, v in record.items()} for record in _records(Path(path))]


def _records(path: Path) -> list[dict[str, Any]]:
    records = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue  # a kill in the middle of a write cuts a line short
        if isinstance(record, dict) and "step" in record:
            records.append(record)
    return records


def _scalar(name: str, value: Any) -> bool | int | float | str:
    """Return a metric as a plain Python value."""
    if isinstance(value, str):
        return value
    if np.size(value) != 1:
        raise ValueError(f"metric {name!r} must be one number, got shape {np.shape(value)}: reduce it first")
    return np.asarray(value).reshape(()).item()


def write_run_facts(workdir: str | Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Write `config.json` and `env.json` (code revision, versions, devices, start) into `workdir`; return
    the latter.

    Raises:
        DiskFullError: if the disk is full.
    """
    facts = environment()
    for name, content in (("config.json", dict(config)), ("env.json", facts)):
        with replacing(Path(workdir) / name) as temporary:
            temporary.write_text(json.dumps(content, indent=2, default=str) + "\n")
    return facts


def environment() -> dict[str, Any]:
    """Return what the results of this process may depend on besides its configuration."""
    devices = jax.devices()
    return {
        "revision": code_revision(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "backend": jax.default_backend(),
        "device": devices[0].device_kind,
        "devices": len(devices),
        "processes": jax.process_count(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def peak_memory() -> dict[str, int]:
    """Return the most memory this process has held, in bytes: on the first device (0 if unknown) and on the host."""
    device = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    return {"peak_device_bytes": device, "peak_host_bytes": _peak_host_bytes()}


def _peak_host_bytes() -> int:
    # The kernel's counter of this program alone; getrusage also counts what the parent held when it forked.
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.is_file() else None
    if found:
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def code_revision(folder: str | Path | None = None) -> str:
    """Return the git commit of the code in `folder` (by default, of this package), with "+dirty" for local
    changes.

    "unknown" where git or its repository is missing.
    """
    folder = Path(folder) if folder is not None else Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+dirty" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


class _Lines(tqdm):
    """A progress bar for log files: one line now and then, instead of one that is redrawn."""

    monitor_interval = 0  # no watcher thread: a line appears only when there is progress

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Write the state as a line of its own, unless nothing has happened since the last one."""
        if self.n > getattr(self, "_shown", self.initial):
            self._shown = self.n
            self.fp.write(str(self) + "\n")
            self.fp.flush()
        return True

    def close(self) -> None:
        """Write the last state, without the empty line that a bar ends with."""
        if not self.disable:
            self.display()
            self.disable = True

    def clear(self, *_: object, **__: object) -> None:
        """Leave earlier lines alone."""


def progress(
    steps: Iterable[Any] | int,
    description: str,
    *,
    start: int = 0,
    total: int | None = None,
    every: float | int = 30,
) -> tqdm:
    """Iterate over `steps` and show rate and remaining time on standard error.

    On a terminal this is one bar; elsewhere a line every `every` seconds, so that log files stay readable.

    Args:
        steps: what to iterate over; a number n means range(start, n).
        description: what is being done, in a few words.
        start: steps that an earlier process has done.
        total: number of steps including `start`, where it cannot be told from `steps`.
        every: seconds between two lines where standard error is not a terminal.
    """
    if isinstance(steps, int):
        steps, total = range(start, steps), steps
    elif total is None and hasattr(steps, "__len__"):
        total = start + len(steps)
    if sys.stderr.isatty():
        return tqdm(steps, description, total, initial=start, dynamic_ncols=True)
    pattern = "{desc}: {n_fmt}/{total_fmt} in {elapsed}, {remaining} left, {rate_fmt}{postfix}"
    return _Lines(
        steps,
        description,
        total,
        initial=start,
        mininterval=every,
        maxinterval=every,
        miniters=1,
        bar_format=pattern,
        file=sys.stderr,
    )
