"""Find the training step that diverged, and save what is needed to examine it.

Training is reproducible bit for bit, so the steps since the last checkpoint diverge at the same step again. This time
every step is checked. `<folder>/diverged` then holds

    report.json     the step, its metrics, and the arrays that are not finite in its batch and after it
    batch.npz       the batch of the step
    checkpoint/     the state just before the step
"""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import ArrayLike, PyTree

from ff_jax.runtime import checkpoint
from ff_jax.runtime.atomic_files import atomic_write

FOLDER = "diverged"


class DivergedError(ValueError):
    """The loss, a parameter or another metric is not a finite number."""


class StepInput(NamedTuple):
    """The input of a training step."""

    state: PyTree  # just before the step, as checkpoints hold it
    meta: dict[str, Any]  # stored beside it
    batch: PyTree
    source: str = ""  # the origin of the batch, in words
    details: Mapping[str, Any] = {}  # further entries of report.json


@dataclasses.dataclass(frozen=True)
class Replay:
    """A training whose steps since its last checkpoint can be repeated; all processes call the functions alike.

    Attributes:
        name: of the training, for messages.
        folder: where `diverged` is written.
        restore: () -> (state, step) of the newest checkpoint; the state may be any pytree.
        run_step: (state, step) -> (state, metrics); may donate the state.
        params: state -> the parameters that are checked.
        is_finite: (state, metrics) -> whether the training may continue after a step.
        input_of: (state, step) -> the input of a step.
        remedy: what the user can do, for messages.
    """

    name: str
    folder: Path
    restore: Callable[[], tuple[Any, int]]
    run_step: Callable[[Any, int], tuple[Any, dict[str, ArrayLike]]]
    params: Callable[[Any], PyTree]
    is_finite: Callable[[Any, dict[str, ArrayLike]], Any]
    input_of: Callable[[Any, int], StepInput]
    remedy: str


class _DivergedStep(NamedTuple):
    step: int  # counted from 0
    params: dict[str, int]  # `count_nonfinite` after the step
    metrics: dict[str, float]


def diagnose(replay: Replay, stop: int) -> DivergedError:
    """Repeat the steps since the last checkpoint, save the one that diverged, and return the error to raise.

    Args:
        replay: the training.
        stop: number of finished steps after which a value was not finite.
    """
    state, start = replay.restore()
    diverged = _find(replay, state, start, stop)
    if diverged is None:
        return DivergedError(
            f"{replay.name} diverged between the steps {start} and {stop}, but not when they were repeated: a hardware "
            f"fault is likely; continue with --resume, from checkpoint {start}."
        )
    state, _ = replay.restore()
    for step in range(start, diverged.step):
        state, _ = replay.run_step(state, step)
    folder = replay.folder / FOLDER
    fault = _save(folder, replay.input_of(state, diverged.step), diverged)
    return DivergedError(
        f"{replay.name} diverged at step {diverged.step} ({fault}): checkpoint {start} is kept, and {folder} holds the "
        f"step; {replay.remedy}, and start in another folder."
    )


def nonfinite_metrics(metrics: Mapping[str, Any]) -> list[str]:
    """List the metrics that are not finite numbers."""
    return [name for name, value in metrics.items() if not math.isfinite(float(value))]


def count_nonfinite(tree: PyTree) -> dict[str, int]:
    """Count the numbers of every array that are not finite, by name; finite arrays are left out."""
    counts = {
        name: int(np.count_nonzero(~np.isfinite(np.asarray(leaf))))
        for name, leaf in _named(tree)
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    }
    return {name: count for name, count in counts.items() if count}


def _find(replay: Replay, state: Any, start: int, stop: int) -> _DivergedStep | None:
    for step in range(start, stop):
        state, metrics = replay.run_step(state, step)
        if not replay.is_finite(state, metrics):
            numbers = {name: float(jnp.asarray(value)) for name, value in metrics.items()}
            return _DivergedStep(step, count_nonfinite(replay.params(state)), numbers)
    return None


def _save(folder: Path, step_input: StepInput, diverged: _DivergedStep) -> str:
    """Write the input of the step and the report; describe the fault in a few words."""
    in_batch, is_first = count_nonfinite(step_input.batch), jax.process_index() == 0
    if is_first:
        shutil.rmtree(folder, ignore_errors=True)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("the earlier report is deleted")
    checkpoint.save(folder / "checkpoint", diverged.step, step_input.state, step_input.meta, keep=1)
    if is_first:
        arrays: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in _named(step_input.batch)}
        with atomic_write(folder / "batch.npz") as temporary:
            np.savez(temporary, **arrays)
        report = {"step": diverged.step, **step_input.details, "not_finite_in_batch": in_batch}
        report |= {"not_finite_after": diverged.params, "metrics": {k: repr(v) for k, v in diverged.metrics.items()}}
        with atomic_write(folder / "report.json") as temporary:
            temporary.write_text(json.dumps(report, indent=2))
    fault = _first_bad_name(in_batch, diverged.params)
    return f"{step_input.source}, {fault}" if step_input.source else fault


def _first_bad_name(in_batch: dict[str, int], after: dict[str, int]) -> str:
    """Name the first array that is not finite, of the batch or else of the parameters."""
    first = next(iter((in_batch or after).items()), None)
    text = f"{first[1]} numbers of {first[0]} are not finite" if first else "its loss is not finite"
    return text + (" in the batch" if in_batch else "")


def _named(tree: PyTree) -> list[tuple[str, jax.Array]]:
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), jnp.asarray(leaf)) for path, leaf in paths]
