"""Stop a program on one number of devices and continue it on another: the result is the same up to rounding."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.studies.measures.robustness.kills import Program, finish, run_and_kill, state_of, uninterrupted
from experiments.studies.measures.robustness.outcomes import (
    DIFFERENT,
    RUNS,
    SENTENCE,
    TRACEBACK,
    Result,
    is_sentence,
    last_line,
)  # fmt: skip

TOLERANCE = 1e-3  # largest difference of an array relative to its largest value
_FLAGS = "--xla_force_host_platform_device_count={}"


def on_devices(program: Program, count: int) -> Program:
    """Make the same program on a number of simulated CPU devices."""
    flags = f"{program.environment.get('XLA_FLAGS', '')} {_FLAGS.format(count)}".strip()
    return program._replace(environment=program.environment | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"})


def results(program: Program, folder: Path, changes: tuple[tuple[int, int], ...], seed: int = 0) -> Iterator[Result]:
    """Run on one device without a stop; then stop runs while they write a checkpoint, and change the devices.

    Args:
        program: what runs.
        folder: of the runs.
        changes: numbers of devices before and after each stop.
        seed: of the moments.
    """
    uninterrupted(on_devices(program, 1), folder / "whole")
    whole = state_of(folder / "whole")
    for before, after in changes:
        begin, run = time.time(), folder / f"from{before}to{after}"
        first, second = on_devices(program, before), on_devices(program, after)
        run_and_kill(first, run, "SIGKILL", seed=(seed, before, after), in_checkpoint=True)
        name = f"{program.name} from {before} to {after} devices"
        try:
            finish(second, run)
        except ValueError as error:
            text = last_line(str(error))
            yield Result(name, SENTENCE if _is_refused(str(error)) else TRACEBACK, text, time.time() - begin)
            continue
        worst, where = largest_difference(whole, state_of(run))
        kind = RUNS if worst <= TOLERANCE else DIFFERENT
        yield Result(name, kind, f"largest relative difference {worst:.2g} ({where})", time.time() - begin)


def _is_refused(text: str) -> bool:
    return "Traceback" not in text and is_sentence(text)


def largest_difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> tuple[float, str]:
    """Find the array of the checkpoints that differs most, relative to its largest value.

    The files of weights are copies of arrays of the checkpoints, whose bytes say nothing about rounding.
    """
    worst = 0.0, "none"
    for name in sorted(one.keys() | other.keys()):
        if name.endswith(".safetensors"):
            continue
        worst = max(worst, (_difference(one.get(name), other.get(name)), name))
    return worst


def _difference(one: np.ndarray | None, other: np.ndarray | None) -> float:
    if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
        return np.inf
    if not np.issubdtype(one.dtype, np.floating):
        return 0.0 if np.array_equal(one, other) else np.inf
    scale = np.abs(one).max(initial=1e-12)
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0.0) / scale)
