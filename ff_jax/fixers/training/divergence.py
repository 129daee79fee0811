"""The step that broke a training of a generator, found by repeating the steps since a checkpoint.

As `train.diverged` does for scenes: training is reproducible to the bit, so the steps since the last checkpoint break
at the same place again, and this time every one of them is looked at. `<folder of checkpoints>/diverged` then holds

    report.json     the step, its metrics, the parameters that were not finite after it
    batch.npz       what the step was trained on
    checkpoint/     the state just before the step
"""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
from jax import Array
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from ff_jax.fixers.training.state import GeneratorState
from ff_jax.runtime import checkpoint
from ff_jax.runtime.divergence_report import (
    FOLDER,
    DivergedError,
    count_bad,
    culprit,
    not_again,
    save_batch,
    save_report,
)

Advance = Callable[[GeneratorState, int], tuple[GeneratorState, dict[str, Array]]]  # by the number of a step


class _Broken(NamedTuple):
    step: int  # counted from 0
    after: dict[str, int]  # of `count_bad`
    shown: dict[str, float]


def broken_metric(metrics: dict[str, float]) -> str | None:
    """Return the name of the first metric that is not a finite number; None if all are."""
    return next((name for name, value in metrics.items() if not math.isfinite(value)), None)


def investigate(
    directory: Path,
    start: Callable[[], GeneratorState],
    advance: Advance,
    batch_of: Callable[[int], PyTree],
    noticed: int,
) -> DivergedError:
    """Repeat the steps since the last checkpoint, save the one that broke the training, and return the error to raise.

    All processes call it alike.

    Args:
        directory: of the checkpoints.
        start: gives the state of the newest of them.
        advance: (state, step) -> (state, metrics); takes the state's memory.
        batch_of: the batch of a step.
        noticed: number of steps after which a metric was not finite.
    """
    kept = checkpoint.latest(directory)
    broken = _find(start(), advance, noticed)
    if broken is None:
        return not_again(f"training broke between the steps {kept} and {noticed}", kept)
    state = start()
    for step in range(int(state.step), broken.step):
        state, _ = advance(state, step)
    what = _save(directory / FOLDER, state, broken, batch_of(broken.step))
    return DivergedError(
        f"training broke at step {broken.step} ({what}): checkpoint {kept} in {directory} is kept, and "
        f"{directory / FOLDER} shows the step; lower the rate or mend the data, and start in another folder."
    )


def _find(state: GeneratorState, advance: Advance, stop: int) -> _Broken | None:
    for step in range(int(state.step), stop):
        state, metrics = advance(state, step)
        shown = {name: float(value) for name, value in metrics.items()}
        if broken_metric(shown):
            return _Broken(step, count_bad(state.params), shown)
    return None


def _save(folder: Path, state: GeneratorState, broken: _Broken, batch: PyTree) -> str:
    """Write what there is to know about the step before which `state` stands; return what is wrong in a few words."""
    inputs, first = count_bad(batch), jax.process_index() == 0
    if first:
        shutil.rmtree(folder, ignore_errors=True)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("an earlier report is gone")
    checkpoint.save(folder / "checkpoint", broken.step, state, {}, keep=1)
    if first:
        save_batch(folder, batch)
        report = {"step": broken.step, "not_finite_in_batch": inputs, "not_finite_after": broken.after}
        save_report(folder, report, broken.shown)
    return culprit(inputs, broken.after)
