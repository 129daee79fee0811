"""Kill and resume runs of the main job, and compare the results of two runs."""

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
PHASES = ("subsampled", "recon", "baseline", "fused")
_TINY = (
    "data.width=64", "data.height=40", "data.frames=6", "data.moving=True", "actors.slots=60", "actors.points=40",
    "steps=60", "save_every=10", "check_every=10", "recon.budget=600", "init.points=400", "recon.sh_degree=1",
    "schedule.start=20", "schedule.every=10", "pseudo_view_capacity=12",
    "fixer=self_fit", "pairs.steps=20", "pairs.every=2",
    "self_fit.steps=8", "self_fit.checks=1", "self_fit.network.widths=(8, 8)",
    "evaluate.frames=2", "evaluate.shifts=(0.0, 1.0)", "evaluate.video_frames=3",
)  # fmt: skip
TINY_FLAGS = tuple(f"--config.{setting}" for setting in _TINY)  # of a main job that takes seconds once it is compiled
_MAX_WAIT = 900.0  # seconds


class Kill(NamedTuple):
    """Moment and circumstances of a kill."""

    seconds: float  # after the start of the process
    phase: str  # last phase that had started
    step: int  # last complete checkpoint of the phase; -1 without one
    during: str  # "a checkpoint", "anything else" or "it had ended"
    code: int  # exit code of the process
    waited: float  # seconds from the signal to the end of the process


def command(workdir: Path) -> list[str]:
    """Build the command of the tiny run."""
    return [sys.executable, "-m", "experiments.fuse", f"--workdir={workdir}", "--resume", *TINY_FLAGS]


def environment(workdir: Path) -> dict[str, str]:
    """Build the environment of a run: the runs of one study share a compilation cache unless one is set already."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(workdir.parent / "compilations")}
    return cache | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"} | os.environ


def uninterrupted(workdir: Path) -> float:
    """Run to the end twice; return the duration in seconds of the second run, which compiles nothing."""
    stored = workdir.parent / "seconds.txt"
    if not stored.exists():
        finish(workdir.with_name("first"))
        begin = time.time()
        finish(workdir)
        stored.write_text(f"{time.time() - begin:.1f}")
    return float(stored.read_text())


def finish(workdir: Path) -> None:
    """Run or resume to the end.

    Raises:
        ValueError: the run failed.
    """
    process = subprocess.run(command(workdir), cwd=ROOT, env=environment(workdir), capture_output=True, text=True)
    if process.returncode:
        raise ValueError(f"the run in {workdir} failed: {process.stderr.strip().splitlines()[-1]}")


def run_and_kill(
    workdir: Path, max_seconds: float, *, seed: Any, in_checkpoint: bool, number: int = signal.SIGKILL
) -> Kill:
    """Start or resume a run, and send it a signal at a random moment.

    Args:
        workdir: folder of the run.
        max_seconds: the moment is between 0 and this many seconds after the start.
        seed: seed of the moment.
        in_checkpoint: wait from that moment on until a checkpoint is being written, and send it then.
        number: of the signal.
    """
    process = subprocess.Popen(
        command(workdir), cwd=ROOT, env=environment(workdir), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    begin, wait = time.time(), random.Random(str(seed)).uniform(0, max_seconds)
    before = unfinished(workdir)  # left by earlier kills

    def is_writing() -> bool:
        return bool(unfinished(workdir) - before)

    while process.poll() is None and time.time() - begin < wait:
        time.sleep(0.002)
    while in_checkpoint and process.poll() is None and not is_writing() and time.time() - begin < _MAX_WAIT:
        time.sleep(0.002)
    during = "it had ended" if process.poll() is not None else "a checkpoint" if is_writing() else "anything else"
    sent = time.time()
    process.send_signal(number)
    code = process.wait()
    phases = [phase for phase in PHASES if (workdir / phase).exists()]
    phase = phases[-1] if phases else "start"
    step = max(_complete_steps(workdir / phase), default=-1)
    return Kill(sent - begin, phase, step, during, code, time.time() - sent)


def is_finished(workdir: Path) -> bool:
    """Check whether the run has written its last file."""
    return (workdir / "results" / "index.html").is_file()


def unfinished(workdir: Path) -> set[tuple[Path, int]]:
    """List the checkpoints of a run without a manifest, with their times of change."""
    checkpoints = set()
    for folder in (*workdir.glob("*/checkpoints/*"), *workdir.glob("fixer/params/*")):
        if "tmp" in folder.name or (folder.name.isdecimal() and not (folder / "manifest.json").exists()):
            with suppress(FileNotFoundError):  # renamed to its final name meanwhile
                checkpoints.add((folder, folder.stat().st_mtime_ns))
    return checkpoints


def differences(one: Path, other: Path) -> list[str]:
    """List the names of arrays and scores that differ between two finished runs; empty if all bits are equal."""
    different: list[str] = []
    for phase in PHASES:  # `subsampled` exists only with the fixer `self_fit`
        arrays, others = _arrays(one / phase), _arrays(other / phase)
        names = sorted(arrays.keys() | others.keys())
        different += [f"{phase} {name}" for name in names if not _is_equal(arrays.get(name), others.get(name))]
    scores, other_scores = (json.loads((run / "results" / "metrics.json").read_text()) for run in (one, other))
    return different + ["scores"] * (scores["frames"] != other_scores["frames"])


def _arrays(phase: Path) -> dict[str, np.ndarray]:
    """Read all arrays of the last checkpoint of a phase without this project's code; none without a checkpoint."""
    import jax
    import orbax.checkpoint as ocp

    last = max(_complete_steps(phase), default=None)
    if last is None:
        return {}

    def data(x: jax.Array) -> jax.Array:
        return jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    with ocp.StandardCheckpointer() as reader:
        stored = reader.restore((phase / "checkpoints" / str(last) / "state").absolute())
    return {name: np.asarray(data(array)) for name, array in stored.items()} | {"step": np.array(last)}


def _complete_steps(phase: Path) -> Iterator[int]:
    return (int(path.parent.name) for path in phase.glob("checkpoints/*/manifest.json") if path.parent.name.isdecimal())


def _is_equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None:
        return False
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
