"""Run the jobs of a sweep on this machine: each in processes of its own, repeated after a failure."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from experiments.cli.signals import PARENT
from experiments.sweeps.definition import RunSpec, Sweep, command_flags, metric_paths, split_metric_path
from experiments.sweeps.report import RunResult
from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.runtime.untrusted_files import read_json_object

ROOT = Path(__file__).parents[2]
_STARTED, _FINISHED, _FAILED, _OUTPUT = "started.json", "finished.json", "failed.json", "output.txt"
_VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
_NUM_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")  # of the matrix products of NumPy


class Job(NamedTuple):
    """The commands of one run."""

    folder: Path
    flags: tuple[str, ...]  # and the commands that follow: a finished run with other ones is not the same run
    commands: tuple[tuple[str, ...], ...]
    num_retries: int


class SweepStoppedError(Exception):
    """The user ended the sweep."""


def make_job(sweep: Sweep, spec: RunSpec, workdir: Path) -> Job:
    """Build the commands of a run."""
    folder = (workdir / spec.name).absolute()
    flags = tuple(command_flags(spec))
    first = (sweep.module, f"--workdir={folder}", "--resume", *flags)
    others = [tuple(part.format(run=folder) for part in line.split()) for line in sweep.after]
    commands = tuple((sys.executable, "-m", *command) for command in (first, *others))
    return Job(folder, (*flags, *sweep.after), commands, sweep.num_retries)


def together_jobs(sweep: Sweep, specs: Sequence[RunSpec], workdir: Path) -> list[Job]:
    """Build the commands that follow all runs of each seed, where the sweep has some."""
    jobs = []
    for seed in dict.fromkeys(spec.seed for spec in specs) if sweep.together else ():
        own = [spec for spec in specs if spec.seed == seed]
        runs = ",".join(f"{spec.label}={(workdir / spec.name).absolute()}" for spec in own)
        out = (workdir / f"together_seed{seed}").absolute()
        lines = [tuple(part.format(runs=runs, out=out) for part in line.split()) for line in sweep.together]
        commands = tuple((sys.executable, "-m", *line) for line in lines)
        jobs.append(Job(out, (runs, *sweep.together), commands, sweep.num_retries))
    return jobs


def check_together(jobs: Sequence[Job]) -> None:
    """Check that what follows the runs of a seed was not done for other rows before.

    Raises:
        ValueError: it was; its results would be lost.
    """
    for job in jobs:
        started = _read(job.folder / _STARTED)
        if started and started["flags"] != list(job.flags):
            raise ValueError(
                f"{job.folder} has results of other rows or commands: delete it, or use another --workdir."
            )


def is_done(job: Job) -> bool:
    """Check whether a job has succeeded with the same commands."""
    started = _read(job.folder / _STARTED)
    return bool(started) and tuple(started["flags"]) == job.flags and _read(job.folder / _FINISHED) is not None


def read_result(sweep: Sweep, spec: RunSpec, workdir: Path) -> RunResult:
    """Read the state of a run, and its metrics.

    Raises:
        ValueError: the folder holds a run with other settings.
    """
    job = make_job(sweep, spec, workdir)
    started = _read(job.folder / _STARTED)
    if started and tuple(started["flags"]) != job.flags:
        difference = next(iter(set(job.flags).symmetric_difference(started["flags"])), "another order")
        raise ValueError(f"{job.folder} was started with other settings ({difference}): use another --workdir.")
    for state, name in (("finished", _FINISHED), ("failed", _FAILED)):
        if end := _read(job.folder / name):
            paths = [part for path in sweep.metrics.values() for part in metric_paths(path, spec)]
            names = {split_metric_path(path)[0] for path in paths}
            files = {name: _read(job.folder / name) or {} for name in names}
            return RunResult(spec, state, files, end["seconds"], end.get("error", ""))
    return RunResult(spec, "started" if started else "new", {}, 0.0)


class Processes:
    """The processes that this sweep has started; `stop` ends all of them."""

    def __init__(self):
        self._running: set[subprocess.Popen] = set()
        self._stopped = threading.Event()

    def run(self, command: Sequence[str], log: Path, environment: dict[str, str]) -> bool:
        """Run a command, append its output to `log`, and tell whether it succeeded.

        Raises:
            SweepStoppedError: `stop` was called.
        """
        with log.open("ab") as output:
            output.write(f"\n$ {' '.join(command)}\n".encode())
            output.flush()
            variables = os.environ | {PARENT: str(os.getpid())} | environment
            process = subprocess.Popen(
                command, cwd=ROOT, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
            self._running.add(process)
            if self._stopped.is_set():
                process.terminate()
            code = process.wait()
            self._running.discard(process)
            if self._stopped.is_set():
                raise SweepStoppedError
            if code < 0:
                output.write(f"error: ended by {signal.Signals(-code).name}\n".encode())
        return code == 0

    def stop(self) -> None:
        """End all processes, also those that start later."""
        self._stopped.set()
        for process in list(self._running):
            process.terminate()

    def wait(self) -> None:
        """Wait until the processes have ended; it may be called by a signal handler while `run` waits."""
        for process in list(self._running):
            with suppress(ChildProcessError):  # `run` has already collected it
                # `Popen.wait` would wait for its own lock, which the interrupted `run` has.
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def run_job(job: Job, environment: dict[str, str], processes: Processes | None = None) -> None:
    """Run a job until it succeeds or has failed too often, and write the outcome into its folder.

    Args:
        job: the commands.
        environment: additional environment variables of its processes.
        processes: where its processes are registered.
    """
    processes = processes or Processes()
    _write(job.folder / _STARTED, {"flags": job.flags})
    for name in (_FAILED, _FINISHED):
        (job.folder / name).unlink(missing_ok=True)
    begin = time.time()
    for attempt in range(job.num_retries + 1):
        if all(processes.run(command, job.folder / _OUTPUT, environment) for command in job.commands):
            _write(job.folder / _FINISHED, {"attempts": attempt + 1, "seconds": time.time() - begin})
            return
    write_failure(job, last_message(job.folder / _OUTPUT), time.time() - begin)


def write_failure(job: Job, error: str, seconds: float = 0.0) -> None:
    """Record that a job failed, why, and how long it took."""
    _write(job.folder / _FAILED, {"attempts": job.num_retries + 1, "error": error, "seconds": seconds})


def last_message(log: Path) -> str:
    """Find the last error message, or else the last line, in the output of a failed command."""
    text = log.read_text(errors="replace").rpartition("\n$ ")[2].partition("\n")[2]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    messages = [line for line in lines if line.startswith("error:")] or lines or ["no output"]
    return messages[-1].removeprefix("error:").strip()


def run_locally(jobs: Sequence[Job], num_workers: int, gpus: Sequence[str]) -> Iterator[int]:
    """Run jobs on this machine and yield the index of each when it ends.

    Args:
        jobs: what to run.
        num_workers: number of jobs that run at the same time.
        gpus: values of CUDA_VISIBLE_DEVICES, assigned to the workers in turn; empty: the variable is not changed.
    """
    environments: queue.Queue[dict[str, str]] = queue.Queue()
    for worker in range(num_workers):
        environments.put(worker_environment(worker, num_workers, gpus))
    processes = Processes()

    def work(job: Job) -> None:
        environment = environments.get()
        try:
            run_job(job, environment, processes)
        finally:
            environments.put(environment)

    with ThreadPoolExecutor(num_workers) as executor:
        futures = {executor.submit(work, job): index for index, job in enumerate(jobs)}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BaseException:
            processes.stop()  # otherwise the executor waits for them
            executor.shutdown(wait=True, cancel_futures=True)
            raise


def worker_environment(worker: int, num_workers: int, gpus: Sequence[str]) -> dict[str, str]:
    """Assign a GPU to a worker, and a fraction of its memory if workers share it; also bound its threads.

    Otherwise the matrix products of NumPy start a thread per core in every worker, and wait for each other.
    """
    threads = max(_num_cores() // num_workers, 1)
    cores = {name: str(threads) for name in _NUM_THREADS if num_workers > 1 and name not in os.environ}
    if not gpus:
        return cores
    num_sharing = -(-num_workers // len(gpus))
    memory = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / num_sharing:.2f}"} if num_sharing > 1 else {}
    return {_VISIBLE_GPUS: gpus[worker % len(gpus)], **memory, **cores}


def _num_cores() -> int:
    """Count the cores that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """List the GPUs of this machine as CUDA_VISIBLE_DEVICES names them."""
    if names := os.environ.get(_VISIBLE_GPUS):
        return names.split(",")
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return re.findall(r"^GPU (\d+):", listing.stdout, re.MULTILINE)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return read_json_object(path)
    except ValueError:
        return None


def _write(path: Path, content: dict[str, Any]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
