"""Running the points of a sweep: a process per point, tried again after a failure, here or on a cluster."""

import json
import os
import platform
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from experiments.sweeps.definition import Point, Sweep, command_flags, file_of
from experiments.sweeps.report import Result, Use
from ff_jax.runtime.atomic_files import replacing
from ff_jax.runtime.run_lock import is_held

ROOT = Path(__file__).parents[2]
_STARTED, _FINISHED, _FAILED, _LOG = "point.json", "finished.json", "failed.json", "output.txt"
_VISIBLE = "CUDA_VISIBLE_DEVICES"


class Job(NamedTuple):
    """One point, ready to be run anywhere."""

    folder: Path
    flags: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]
    retries: int


def job_of(sweep: Sweep, point: Point, workdir: Path) -> Job:
    """Return the commands of a point."""
    folder = (workdir / point.name).absolute()
    flags = tuple(command_flags(point))
    first = (sweep.module, f"--workdir={folder}", "--resume", *flags)
    others = [tuple(part.format(run=folder) for part in line.split()) for line in sweep.after]
    commands = tuple((sys.executable, "-m", *command) for command in (first, *others))
    return Job(folder, (*flags, *sweep.after), commands, sweep.retries)


def result_of(sweep: Sweep, point: Point, workdir: Path) -> Result:
    """Return the state of a point, and its metrics.

    Raises:
        ValueError: its folder holds a point with other settings.
    """
    job = job_of(sweep, point, workdir)
    started = _read(job.folder / _STARTED)
    if started and tuple(started["flags"]) != job.flags:
        other = next(iter(set(job.flags).symmetric_difference(started["flags"])), "another order")
        raise ValueError(f"{job.folder} was started with other settings ({other}): name another --workdir.")
    for state, name in (("finished", _FINISHED), ("failed", _FAILED)):
        if found := _read(job.folder / name):
            files = {file_of(path)[0] for path in sweep.metrics.values()}
            read = {file: _read(job.folder / file) or {} for file in files}
            return Result(point, state, read, found["seconds"], found.get("error", ""), _use(job, found))
    return Result(point, "started" if started else "new", {}, 0.0)


def _use(job: Job, found: dict[str, Any]) -> Use | None:
    """Return on what a point ran, and when; None if that is not known."""
    device = _read(job.folder / "env.json")
    if not device or "begun" not in found:
        return None
    place = found["place"] if device["backend"] != "cpu" else ""
    return Use(device["device"], place, found["begun"], found["begun"] + found["seconds"])


class Children:
    """The processes that a sweep has started here, so that they can be ended with it."""

    def __init__(self):
        self._running: set[subprocess.Popen] = set()
        self._stopped = threading.Event()

    def run(self, command: Sequence[str], log: Path, more: dict[str, str]) -> bool:
        """Run a command, its output added to `log`, and return whether it succeeded.

        Raises:
            StoppedError: the sweep is being ended.
        """
        with log.open("ab") as output:
            output.write(f"\n$ {' '.join(command)}\n".encode())
            output.flush()
            process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | more, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
            self._running.add(process)
            if self._stopped.is_set():
                process.terminate()
            code = process.wait()
            self._running.discard(process)
            if self._stopped.is_set():
                raise StoppedError
            if code < 0:
                output.write(f"error: ended by {signal.Signals(-code).name}\n".encode())
        return code == 0

    def wait(self, seconds: float) -> None:
        """Wait.

        Raises:
            StoppedError: the sweep is being ended.
        """
        if self._stopped.wait(seconds):
            raise StoppedError

    def stop(self) -> None:
        """End all of them, and those to come."""
        self._stopped.set()
        for process in list(self._running):
            process.terminate()


class StoppedError(Exception):
    """The sweep is being ended."""


def attempt(job: Job, more: dict[str, str], children: Children | None = None) -> None:
    """Run a point to its end, or until it has failed too often; what came of it is written into its folder.

    A process of an earlier sweep that is still at it is waited for. A point that is finished is left alone.

    Args:
        job: the point.
        more: environment variables of its processes.
        children: who keeps its processes.
    """
    children = children or Children()
    while is_held(job.folder):
        children.wait(1.0)
    if (job.folder / _FINISHED).exists():
        return
    _write(job.folder / _STARTED, {"flags": job.flags})
    (job.folder / _FAILED).unlink(missing_ok=True)
    begun = time.time()
    place = f"{platform.node()} {(os.environ | more).get(_VISIBLE, '')}"
    spent = lambda: {"begun": begun, "seconds": time.time() - begun, "place": place}
    for number in range(job.retries + 1):
        if all(children.run(command, job.folder / _LOG, more) for command in job.commands):
            _write(job.folder / _FINISHED, {"flags": job.flags, "attempts": number + 1, **spent()})
            return
    note_failure(job, last_sentence(job.folder / _LOG), spent())


def note_failure(job: Job, error: str, spent: dict[str, Any] | None = None) -> None:
    """Write down that a point failed, why, and what it took."""
    _write(job.folder / _FAILED, {"attempts": job.retries + 1, "error": error, **(spent or {"seconds": 0.0})})


def last_sentence(log: Path) -> str:
    """Return what a failed process said last."""
    last = log.read_text(errors="replace").rpartition("\n$ ")[2].partition("\n")[2]
    lines = [line.strip() for line in last.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("error:")] or lines or ["it said nothing"]
    return said[-1].removeprefix("error:").strip()


def run_here(jobs: Sequence[Job], workers: int, gpus: Sequence[str]) -> Iterator[int]:
    """Run jobs on this machine and yield the number of each as it ends.

    Args:
        jobs: the points.
        workers: how many run at a time.
        gpus: what CUDA_VISIBLE_DEVICES names for the workers in turn; none leaves it as it is.
    """
    slots: queue.Queue[dict[str, str]] = queue.Queue()
    for number in range(workers):
        slots.put(slot(number, workers, gpus))
    children = Children()

    def work(job: Job) -> None:
        own = slots.get()
        try:
            attempt(job, own, children)
        finally:
            slots.put(own)

    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(work, job): number for number, job in enumerate(jobs)}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BaseException:
            children.stop()  # the pool would wait for them
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def slot(number: int, workers: int, gpus: Sequence[str]) -> dict[str, str]:
    """Return the environment of worker `number`: its GPU, and the share of its memory if others use it, too."""
    if not gpus:
        return {}
    sharing = -(-workers // len(gpus))
    share = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / sharing:.2f}"} if sharing > 1 else {}
    return {_VISIBLE: gpus[number % len(gpus)], **share}


def visible_gpus() -> list[str]:
    """Return the GPUs of this machine as CUDA_VISIBLE_DEVICES names them."""
    if named := os.environ.get(_VISIBLE):
        return named.split(",")
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return re.findall(r"^GPU (\d+):", listed.stdout, re.MULTILINE)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _write(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
