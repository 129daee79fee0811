"""What `fault_study` does to runs, and how two runs are compared."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parents[3]
PHASES = ("thin", "recon", "baseline", "fused")
TINY = (
    "data.width=64", "data.height=40", "data.frames=6", "data.moving=True", "actors.slots=60", "actors.points=40",
    "steps=60", "save_every=10", "check_every=10", "recon.budget=600", "init.points=400", "recon.sh_degree=1",
    "schedule.start=20", "schedule.every=10", "pool=12", "fixer=self_fit", "thin.steps=20", "thin.every=2",
    "self_fit.steps=8", "self_fit.checks=1", "self_fit.widths=(8, 8)",
    "evaluate.frames=2", "evaluate.shifts=(0.0, 1.0)", "evaluate.video_frames=3",
)  # fmt: skip
_WAIT = 900.0  # seconds


class Kill(NamedTuple):
    """Where a kill fell."""

    seconds: float  # after the start of the process
    phase: str  # the last one that had begun
    step: int  # its last whole checkpoint; -1 without one
    during: str  # "a checkpoint", "anything else" or "it had ended"


def command(workdir: Path, *more: str) -> list[str]:
    """Return the command of the tiny run."""
    settings = [f"--config.{setting}" for setting in TINY]
    return [sys.executable, "-m", "experiments.fuse", f"--workdir={workdir}", "--resume", *settings, *more]


def environment(workdir: Path) -> dict[str, str]:
    """Return the variables of a run; all runs beside each other share their compilations, where others do not yet."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(workdir.parent / "compilations")}
    return cache | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"} | os.environ


def undisturbed(workdir: Path) -> float:
    """Run to the end twice, the second time with all compilations at hand, and return its seconds."""
    noted = workdir.parent / "seconds.txt"
    if not noted.exists():
        finish(workdir.with_name("first"))
        begun = time.time()
        finish(workdir)
        noted.write_text(f"{time.time() - begun:.1f}")
    return float(noted.read_text())


def finish(workdir: Path) -> None:
    """Run, or go on, to the end.

    Raises:
        ValueError: the run failed.
    """
    done = subprocess.run(command(workdir), cwd=ROOT, env=environment(workdir), capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"the run in {workdir} failed: {done.stderr.strip().splitlines()[-1]}")


def run_and_kill(workdir: Path, longest: float, *, seed: Any, in_checkpoint: bool) -> Kill:
    """Start or resume a run, and kill -9 it at a random moment.

    Args:
        workdir: of the run.
        longest: the moment is drawn between 0 and this many seconds after the start.
        seed: of the moment.
        in_checkpoint: from that moment on wait for a checkpoint that is being written, and kill then.
    """
    process = subprocess.Popen(
        command(workdir), cwd=ROOT, env=environment(workdir), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    begun, wait = time.time(), random.Random(str(seed)).uniform(0, longest)
    before = unfinished(workdir)  # what earlier kills have left
    writing = lambda: unfinished(workdir) - before
    while process.poll() is None and time.time() - begun < wait:
        time.sleep(0.002)
    while in_checkpoint and process.poll() is None and not writing() and time.time() - begun < _WAIT:
        time.sleep(0.002)
    during = "it had ended" if process.poll() is not None else "a checkpoint" if writing() else "anything else"
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = [phase for phase in PHASES if (workdir / phase).exists()]
    phase = found[-1] if found else "start"
    return Kill(time.time() - begun, phase, max(_whole(workdir / phase), default=-1), during)


def is_finished(workdir: Path) -> bool:
    """Return whether all that the run leaves behind is there."""
    return (workdir / "results" / "index.html").is_file()


def unfinished(workdir: Path) -> set[tuple[Path, int]]:
    """Return the checkpoints of a run that have no manifest yet, and when they changed last."""
    found = set()
    for folder in (*workdir.glob("*/checkpoints/*"), *workdir.glob("fixer/params/*")):
        if "tmp" in folder.name or (folder.name.isdecimal() and not (folder / "manifest.json").exists()):
            with suppress(FileNotFoundError):  # it has just got its final name
                found.add((folder, folder.stat().st_mtime_ns))
    return found


def differences(one: Path, other: Path) -> list[str]:
    """Return the names of all arrays and scores in which two finished runs differ; none if they are the same bits."""
    found = []
    for phase in PHASES:  # `thin` is there only if a fixer was fitted
        arrays, others = _arrays(one / phase), _arrays(other / phase)
        names = sorted(arrays.keys() | others.keys())
        found += [f"{phase} {name}" for name in names if not _same(arrays.get(name), others.get(name))]
    scores, other_scores = (json.loads((run / "results" / "metrics.json").read_text()) for run in (one, other))
    return found + ["scores"] * (scores["frames"] != other_scores["frames"])


def _arrays(phase: Path) -> dict[str, np.ndarray]:
    """Return all arrays of the last checkpoint of a phase (none without one), read without the code that wrote it."""
    import jax
    import orbax.checkpoint as ocp

    last = max(_whole(phase), default=None)
    if last is None:
        return {}
    data = lambda x: jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    with ocp.StandardCheckpointer() as reader:
        stored = reader.restore((phase / "checkpoints" / str(last) / "state").absolute())
    return {name: np.asarray(data(array)) for name, array in stored.items()} | {"step": np.array(last)}


def _whole(phase: Path) -> Iterator[int]:
    return (int(path.parent.name) for path in phase.glob("checkpoints/*/manifest.json") if path.parent.name.isdecimal())


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None:
        return False
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
