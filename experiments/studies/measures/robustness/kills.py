"""Kill and resume runs of a program, and compare the results of two runs."""

import glob
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.cli.signals import PARENT
from experiments.studies.measures.robustness.outcomes import (
    DIFFERENT,
    HANG,
    RUNS,
    SENTENCE,
    TRACEBACK,
    Result,
    is_sentence,
    last_line,
)  # fmt: skip

ROOT = Path(__file__).parents[4]
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
MAX_SAVING = 5.0  # seconds from the end of the step that a signal waits for to the end of the process
MAX_END = 60.0  # seconds from a signal to the end of the process, which may be compiling its step
_MAX_BEGUN = 3  # checkpoints that a run begins before a signal is sent
_MAX_DELAY = 8.0  # seconds after the last of them
MAX_RUN = 1800.0  # seconds until a run counts as one that hangs
_MANIFEST = "manifest.json"  # the last file of a checkpoint
_METADATA = "_CHECKPOINT_METADATA"  # of Orbax: the times of a checkpoint
_MEASURED = (".minutes",)  # ends of the names of arrays with measured times, which no two runs share


class Program(NamedTuple):
    """A program that saves its state, and continues with the same command.

    Attributes:
        name: for results.
        arguments: those of the interpreter, by the folder of the run.
        last_file: written last, relative to the folder.
        checkpoints: patterns of the folders of single checkpoints.
        environment: variables that differ from those of this process.
        has_children: whether it starts other processes: SIGKILL ends all of them, or only the first one.
    """

    name: str
    arguments: Callable[[Path], list[str]]
    last_file: str
    checkpoints: tuple[str, ...] = ("**/checkpoints/*", "fixer/params/*")
    environment: dict[str, str] = {}  # noqa: RUF012
    has_children: bool = False

    def command(self, folder: Path) -> list[str]:
        """Build the command of a run; the same starts and continues it."""
        return [sys.executable, *self.arguments(folder)]

    def is_finished(self, folder: Path) -> bool:
        """Check whether a run has written its last file."""
        return (folder / self.last_file).is_file()

    def variables(self, folder: Path) -> dict[str, str]:
        """Build the environment of a run: the runs of one study share a compilation cache unless one is set already."""
        cache = {"JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compilations")}
        own = {PARENT: str(os.getpid())}  # a run ends with the study
        return cache | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"} | os.environ | self.environment | own


class Kill(NamedTuple):
    """Moment and circumstances of a signal."""

    name: str  # of the signal
    seconds: float  # after the start of the process
    step: str  # last complete checkpoint; "" without one
    during: str  # "a checkpoint", "anything else" or "it had ended"
    code: int  # exit code of the process
    waited: float  # seconds from the signal to the end of the process
    saving: float  # the same from the moment on at which the process began to save its last step
    message: str  # last line of what it printed
    is_finished: bool  # whether its last file is there


def uninterrupted(program: Program, folder: Path) -> None:
    """Run to the end, unless the folder holds a finished run."""
    if not program.is_finished(folder):
        finish(program, folder)


def finish(program: Program, folder: Path, **environment: str) -> str:
    """Run or resume to the end; return what the run printed.

    Raises:
        ValueError: the run failed.
    """
    done = subprocess.run(
        program.command(folder), cwd=ROOT, env=program.variables(folder) | environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=MAX_RUN,
    )  # fmt: skip
    if done.returncode:
        text = done.stdout if "Traceback" in done.stdout else last_line(done.stdout)
        raise ValueError(f"the run in {folder} failed: {text}")
    return done.stdout


def run_and_kill(program: Program, folder: Path, name: str, *, seed: Any, in_checkpoint: bool) -> Kill:
    """Start or resume a run, and send it a signal at a random moment.

    The moment is counted in checkpoints that the run begins, because the speed of a machine changes.

    Args:
        program: what runs.
        folder: of the run.
        name: of the signal.
        seed: of the moment.
        in_checkpoint: send it while a checkpoint is written, else up to some seconds after one.
    """
    rng = random.Random(str(seed))
    output = folder.parent / f"{folder.name}.txt"
    before = begun(program, folder)  # left by earlier kills
    with output.open("w") as file:
        process = subprocess.Popen(
            program.command(folder), cwd=ROOT, env=program.variables(folder), stdin=subprocess.DEVNULL, stdout=file,
            stderr=file, start_new_session=True,
        )  # fmt: skip
    begin, count, earlier = time.time(), rng.randint(in_checkpoint, _MAX_BEGUN), _steps_of(before)
    while (
        process.poll() is None
        and len(_steps_of(begun(program, folder)) - earlier) < count
        and time.time() - begin < MAX_RUN
    ):
        time.sleep(0.002)
    delay = 0.0 if in_checkpoint else rng.uniform(0, _MAX_DELAY)
    with suppress(subprocess.TimeoutExpired):
        process.wait(delay)
    is_writing = bool(unfinished(program, folder) - before)
    during = "it had ended" if process.poll() is not None else "a checkpoint" if is_writing else "anything else"
    sent = time.time()
    to_all = program.has_children and name == "SIGKILL" and rng.random() < 0.5
    with suppress(ProcessLookupError):
        (os.killpg if to_all else os.kill)(process.pid, signal.Signals[name])
    code = process.wait(MAX_RUN)
    ended, steps = time.time(), sorted(complete_steps(folder), key=lambda path: path.stat().st_mtime_ns)
    step = steps[-1].relative_to(folder).as_posix() if steps else ""
    saved = json.loads((steps[-1] / _METADATA).read_text())["init_timestamp_nsecs"] / 1e9 if steps else sent
    message = last_line(output.read_text(errors="replace"))
    is_finished = program.is_finished(folder)
    return Kill(name, sent - begin, step, during, code, ended - sent, ended - max(sent, saved), message, is_finished)


def judge(kill: Kill) -> tuple[str, str]:
    """Judge the end of a process after a signal: one of `outcomes.COLUMNS`, and a description."""
    number = signal.Signals[kill.name]
    text = (
        f"{kill.name} after {kill.seconds:.1f} s, at {kill.step or 'the start'}, during {kill.during}: "
        f"code {kill.code} after {kill.waited:.1f} s, {kill.saving:.1f} s of them to save: {kill.message}"
    )
    if kill.during == "it had ended":
        return (RUNS if kill.code == 0 else TRACEBACK), text
    if number == signal.SIGKILL:
        return (RUNS if kill.code == -number else TRACEBACK), text
    if kill.code == 0:  # it ended by itself, before it could obey
        return RUNS, text
    if kill.code == -number and (kill.message == "" or kill.is_finished):  # before it began, or after its last file
        return RUNS, text
    if kill.code != 128 + number or not is_sentence(kill.message):
        return TRACEBACK, text
    is_late = kill.waited > MAX_END or ("saved as" in kill.message and kill.saving > MAX_SAVING)
    return (HANG if is_late else SENTENCE), text


def results(
    program: Program, folder: Path, kills: int, seed: int = 0, signals: Sequence[str] = SIGNALS
) -> Iterator[Result]:
    """Run once without signals, then with some, and compare.

    Every second signal is sent while a checkpoint is written. Results with the same number of arrays count as one.

    Args:
        program: what runs.
        folder: of the runs.
        kills: number of signals of each kind.
        seed: of the moments.
        signals: names of the signals.
    """
    whole, runs = folder / "whole", 1
    uninterrupted(program, whole)
    order = [name for _ in range(kills) for name in signals]
    for number, name in enumerate(order):
        run = folder / f"killed{runs}"
        in_checkpoint = number % 2 == 1
        begin = time.time()
        kind, text = judge(run_and_kill(program, run, name, seed=(seed, number), in_checkpoint=in_checkpoint))
        yield Result(f"{program.name} {number} {name}", kind, text, time.time() - begin)
        if program.is_finished(run) or number + 1 == len(order):  # later signals need a new run
            yield compare(program, whole, run)
            runs += 1


def compare(program: Program, whole: Path, run: Path, **environment: str) -> Result:
    """Finish a run, and compare it with an uninterrupted one bit for bit."""
    begin, name = time.time(), f"{program.name}: {run.name} resumed"
    try:
        finish(program, run, **environment)
    except ValueError as error:
        return Result(name, TRACEBACK if "Traceback" in str(error) else DIFFERENT, str(error), time.time() - begin)
    except subprocess.TimeoutExpired:
        return Result(name, HANG, "", time.time() - begin)
    different, count = differences(whole, run), len(state_of(whole))
    text = f"{len(different)} of {count} arrays differ: {', '.join(different[:5])}"
    return Result(name, DIFFERENT if different or not count else RUNS, text, time.time() - begin)


def begun(program: Program, folder: Path) -> set[tuple[Path, int]]:
    """List the checkpoints of a run, finished or not, with the times at which their folders were made or filled."""
    found = set()
    for path in (path for pattern in program.checkpoints for path in _matches(folder, pattern)):
        if "tmp" in path.name or path.name.isdecimal():
            with suppress(FileNotFoundError):  # renamed to its final name meanwhile
                found.add((path, path.stat().st_mtime_ns))
    return found


def _matches(folder: Path, pattern: str) -> list[Path]:
    """List the paths that match, also while others are removed: `Path.glob` stops at a folder that is gone."""
    return [folder / name for name in glob.glob(pattern, root_dir=folder, recursive=True)]


def _steps_of(checkpoints: set[tuple[Path, int]]) -> set[Path]:
    """Name the steps of checkpoints, without the suffixes of those that are being written."""
    return {path.with_name(path.name.split(".")[0]) for path, _ in checkpoints}


def unfinished(program: Program, folder: Path) -> set[tuple[Path, int]]:
    """List the checkpoints of a run without a manifest, with their times of change."""
    return {
        (path, moment)
        for path, moment in begun(program, folder)
        if "tmp" in path.name or not (path / _MANIFEST).exists()
    }


def differences(one: Path, other: Path) -> list[str]:
    """List the names of arrays and scores that differ between two finished runs; empty if all bits are equal."""
    arrays, others = state_of(one), state_of(other)
    names = sorted(arrays.keys() | others.keys())
    return [name for name in names if not _is_equal(arrays.get(name), others.get(name))]


def state_of(folder: Path) -> dict[str, np.ndarray]:
    """Read what a finished run has computed, without this project's code.

    That are all arrays of the last checkpoint of every phase, its number, the scores, and the files of weights.
    """
    last: dict[Path, Path] = {}
    for step in complete_steps(folder):
        last[step.parent] = max(last.get(step.parent, step), step, key=lambda path: int(path.name))
    found = {}
    for phase, step in sorted(last.items()):
        name = phase.relative_to(folder).as_posix()
        found |= {f"{name} {key}": array for key, array in _arrays(step).items()} | {f"{name} step": _text(step.name)}
    for path in sorted(folder.rglob("*.safetensors")):
        found[path.relative_to(folder).as_posix()] = np.frombuffer(path.read_bytes(), np.uint8)
    for path in sorted(folder.rglob("results/metrics.json")):
        found[f"{path.relative_to(folder)} scores"] = _text(json.dumps(json.loads(path.read_text())["frames"]))
    return found


def complete_steps(folder: Path) -> Iterator[Path]:
    """Give the folders of all complete checkpoints."""
    return (path.parent for path in _matches(folder, f"**/{_MANIFEST}") if path.parent.name.isdecimal())


def _arrays(step: Path) -> dict[str, np.ndarray]:
    """Read all arrays of a checkpoint."""
    import jax
    import orbax.checkpoint as ocp

    def data(x: jax.Array) -> jax.Array:
        return jax.random.key_data(x) if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    with ocp.StandardCheckpointer() as reader:
        stored = reader.restore((step / "state").absolute())
    return {name: np.asarray(data(array)) for name, array in stored.items() if not name.endswith(_MEASURED)}


def _text(value: str) -> np.ndarray:
    return np.frombuffer(value.encode(), np.uint8)


def _is_equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None:
        return False
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
