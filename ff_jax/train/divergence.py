"""What to look at when training diverged: the step that broke it, found by repeating the steps since a checkpoint.

Training is reproducible to the bit, so the steps since the last checkpoint break at the same place again; this time
every one of them is looked at. `<phase>/diverged` then holds

    report.json     the step, its batch, the first parameters that were not finite
    batch.npz       what the step was trained on
    checkpoint/     the run just before the step (as `train.checkpoint` keeps it)
"""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

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
from ff_jax.train.batches import Feed
from ff_jax.train.loop import Recipe, Run, advance, check_capacity, choose, is_finite, next_batch, with_event

Event = Callable[[Run, int, Recipe], Run]


class Broken(NamedTuple):
    """The step that broke the training."""

    step: int  # its number, counted from 0
    after: dict[str, int]  # numbers that are not finite in each group of parameters after it
    shown: dict[str, float]  # what the log would show of it


def investigate(
    folder: Path, description: str, shapes: Run, recipe: Recipe, feed: Feed, event: Event, noticed: int
) -> DivergedError:
    """Repeat the steps since the last checkpoint, save the one that broke the training, and return the error to raise.

    Args:
        folder: of the phase.
        description: what the phase does.
        shapes: of the run.
        recipe: static settings; the capacity is the checkpoint's.
        feed: recorded frames.
        event: makes pseudo-views.
        noticed: number of steps after which something was not finite.
    """
    run, recipe, kept = _restore(folder, shapes, recipe)
    broken = find(run, recipe, feed, event, noticed)
    place = f"{description} broke between the steps {kept} and {noticed}"
    if broken is None:
        return not_again(place, kept)
    run, recipe, _ = _restore(folder, shapes, recipe)
    run, recipe = repeat(run, broken.step, recipe, feed, event)
    what = save_step(folder / FOLDER, with_event(run, broken.step, recipe, event), broken, recipe, feed)
    return DivergedError(
        f"{description} broke at step {broken.step} ({what}): checkpoint {kept} is kept, and {folder / FOLDER} "
        "shows the step; lower the rates of recon.optim or mend the data, and start in another folder."
    )


def find(run: Run, recipe: Recipe, feed: Feed, event: Event, stop: int) -> Broken | None:
    """Return the first step before `stop` after which the loss or a parameter is not finite; the run is donated."""
    for step in range(int(run.state.step), stop):
        run, shown = advance(run, step, recipe, feed, event)
        if not is_finite(run.state.scene.params, shown["loss"]):
            numbers = {name: float(value) for name, value in shown.items()}
            return Broken(step, count_bad(run.state.scene.params), numbers)
        run, recipe = _checked(run, recipe, step)
    return None


def repeat(run: Run, stop: int, recipe: Recipe, feed: Feed, event: Event) -> tuple[Run, Recipe]:
    """Return the run just before step `stop`; it is donated."""
    for step in range(int(run.state.step), stop):
        run, _ = advance(run, step, recipe, feed, event)
        run, recipe = _checked(run, recipe, step)
    return run, recipe


def save_step(folder: Path, run: Run, broken: Broken, recipe: Recipe, feed: Feed) -> str:
    """Write what there is to know about the step before which `run` stands; return what is wrong in a few words."""
    shutil.rmtree(folder, ignore_errors=True)
    checkpoint.save(folder / "checkpoint", broken.step, run, {"capacity": recipe.settings.capacity}, keep=1)
    novel, index = choose(run, broken.step, recipe, feed)
    batch = next_batch(run, broken.step, recipe, feed)
    inputs = count_bad(batch)
    save_batch(folder, batch)
    where = {"kind": "pseudo-view", "slot": index} if novel else {"kind": "recorded", **_frame(feed, index)}
    report = {"step": broken.step, "batch": where, "not_finite_in_batch": inputs, "not_finite_after": broken.after}
    save_report(folder, report, broken.shown)
    seen = f"pseudo-view {index}" if novel else f"frame {index} of camera {feed.frames[index].camera}"
    return f"{seen}, {culprit(inputs, broken.after)}"


def _restore(folder: Path, shapes: Run, recipe: Recipe) -> tuple[Run, Recipe, int]:
    run, meta, step = checkpoint.restore(folder / "checkpoints", shapes)
    settings = dataclasses.replace(recipe.settings, capacity=meta["capacity"])
    return run, dataclasses.replace(recipe, settings=settings), step


def _checked(run: Run, recipe: Recipe, step: int) -> tuple[Run, Recipe]:
    return check_capacity(run, recipe) if (step + 1) % recipe.check_every == 0 else (run, recipe)


def _frame(feed: Feed, index: int) -> dict[str, Any]:
    frame = feed.frames[index]
    return {"frame": index, "camera": frame.camera, "time": frame.time}
