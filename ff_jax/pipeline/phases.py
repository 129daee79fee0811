"""Phases of a run: each has a folder with its checkpoints and log, and goes on where it was stopped."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
from jax import Array
from jaxtyping import Key, PyTree

from ff_jax.pipeline.config import FuseConfig, to_dict
from ff_jax.runtime import checkpoint
from ff_jax.runtime.run_log import Logger, progress
from ff_jax.train.batches import Feed
from ff_jax.train.divergence import investigate
from ff_jax.train.loop import Hooks, NotFiniteError, Recipe, Run, train


def run_phase(
    folder: Path,
    description: str,
    run: Run,
    recipe: Recipe,
    stop: int,
    feed: Feed,
    config: FuseConfig,
    event: Callable[[Run, int, Recipe], Run] | None = None,
) -> tuple[Run, Recipe]:
    """Train `run` to step `stop`, checkpointing into `folder`; a whole checkpoint there is continued.

    Args:
        folder: folder of this phase.
        description: what the progress bar says.
        run: where the phase starts when `folder` holds no checkpoint; also the shapes to restore into.
        recipe: static settings; the capacity of a continued phase comes from its checkpoint.
        stop: step after the last one.
        feed: recorded frames.
        config: the settings; written beside every checkpoint.
        event: makes pseudo-views (see `Hooks`).

    Raises:
        DivergedError: the training broke; its last good checkpoint is kept (see `train.diverged`).
    """
    found = checkpoint.latest(folder / "checkpoints")
    if found is not None:
        run, meta, _ = checkpoint.restore(folder / "checkpoints", run, found)
        settings = dataclasses.replace(recipe.settings, capacity=meta["capacity"])
        recipe = dataclasses.replace(recipe, settings=settings)
    start = int(run.state.step)
    if start >= stop:
        return run, recipe

    def save(step: int, run: Run, recipe: Recipe) -> None:
        meta = {"capacity": recipe.settings.capacity, "config": to_dict(config), "phase": description}
        checkpoint.save(folder / "checkpoints", step, run, meta, keep=2)

    if found is None:
        save(start, run, recipe)  # where to go back to if the training diverges at once
    with Logger(folder, resume_step=start if found is not None else None) as log:
        bar = progress(range(start, stop), description, start=start, total=stop)

        def write(step: int, metrics: dict[str, float], recipe: Recipe) -> None:
            log.log(step, metrics | {"capacity": recipe.settings.capacity})
            bar.set_postfix_str(f"{metrics['psnr']:.2f} dB", refresh=False)

        hooks = Hooks(log=write, tick=lambda _: bar.update(), save=save, save_every=config.save_every)
        if event is not None:
            hooks = dataclasses.replace(hooks, event=event)
        shapes = jax.eval_shape(lambda: run)
        try:
            run, recipe = train(run, stop, recipe, feed, hooks)
        except NotFiniteError as error:
            raise investigate(folder, description, shapes, recipe, feed, hooks.event, error.step) from error
        finally:
            bar.close()
    return run, recipe


def is_begun(folder: Path) -> bool:
    """Return whether `run_phase` will continue a checkpoint in `folder`."""
    return checkpoint.latest(folder / "checkpoints") is not None


def restore_or(folder: Path, make: Callable[[], PyTree], like: Callable[[], PyTree]) -> PyTree:
    """Return the pytree saved in `folder`, or make it and save it there.

    Args:
        folder: where it is kept.
        make: computes it.
        like: gives its structure, shapes and dtypes.
    """
    if checkpoint.latest(folder) is not None:
        return checkpoint.restore(folder, like())[0]
    value = make()
    checkpoint.save(folder, 0, value, {}, keep=1)
    return value


def key_of(config: FuseConfig, stream: int) -> Key[Array, ""]:
    """Return the random key of one purpose of a run."""
    return jax.random.fold_in(jax.random.key(config.seed), stream)
