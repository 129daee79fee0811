"""One training step on a mesh, and the loop around it: batches, checkpoints, resuming."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jax import Array, lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import PyTree

from ff_jax.fixers.training.sharding import place, shard_batch, shardings
from ff_jax.fixers.training.state import FixerTrainState, Loss, gradient
from ff_jax.runtime import checkpoint
from ff_jax.runtime.divergence import Replay, StepInput, diagnose, nonfinite_metrics
from ff_jax.runtime.progress import progress
from ff_jax.runtime.step_queue import StepQueue
from ff_jax.runtime.stop import StoppedError, StopRequest

StepFn = Callable[[FixerTrainState, PyTree, PyTree], tuple[FixerTrainState, dict[str, Array]]]


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """Where a training runs, and when it saves and logs.

    Attributes:
        folder: of the checkpoints.
        mesh: the one that the step was made for.
        meta: stored beside each checkpoint (the configuration); JSON values.
        save_every: steps between two checkpoints; the last step is saved, too.
        log: called with the number of finished steps and the metrics of the last one.
        log_every: steps between two calls of `log`; the last step is logged, too.
        request: ends the training early; that of any process ends all.
    """

    folder: str | Path
    mesh: Mesh
    meta: dict[str, Any]
    save_every: int = 1000
    log: Callable[[int, dict[str, float]], None] = lambda *_: None
    log_every: int = 50
    request: StopRequest = dataclasses.field(default_factory=StopRequest)


def make_step(loss: Loss, optimizer: optax.GradientTransformation, mesh: Mesh, microbatches: int = 1) -> StepFn:
    """Compile step(state, frozen, batch) -> (state, metrics); it donates the state.

    State and frozen parameters are placed by `sharding.shard`, the batch by `sharding.shard_batch`. Metrics are those
    of the loss, its value ("loss") and the global norm of the gradient before clipping ("gradient").

    Args:
        loss: see `state.Loss`; gradients flow to the state's parameters only.
        optimizer: from `state.make_optimizer`.
        mesh: from `sharding.make_mesh`.
        microbatches: number of parts of a batch, to bound the memory.
    """

    def step(state: FixerTrainState, frozen: PyTree, batch: PyTree) -> tuple[FixerTrainState, dict[str, Array]]:
        size = len(jax.tree.leaves(batch)[0])
        keys = jax.random.split(jax.random.fold_in(state.key, state.step), size)
        change, metrics = gradient(loss, state.params, frozen, batch, keys, microbatches, mesh)
        updates, opt = optimizer.update(change, state.opt, state.params)
        after = FixerTrainState(state.step + 1, optax.apply_updates(state.params, updates), opt, state.key)
        # The output keeps the input's placement: the memory is reused, and the next call needs no compilation.
        after = lax.with_sharding_constraint(after, shardings(after, mesh))
        return after, {**metrics, "gradient": optax.global_norm(change)}

    return jax.jit(step, donate_argnums=0)


def resume(folder: str | Path, state: FixerTrainState, mesh: Mesh) -> FixerTrainState:
    """Restore the newest valid checkpoint onto the mesh; without one, place `state` on it.

    Args:
        folder: of checkpoints of `run`, written on any mesh.
        state: from `state.init_state`, or its shapes.
        mesh: where to continue.

    Raises:
        CheckpointError: the checkpoint has other parameters.
    """
    places = shardings(state, mesh)
    if checkpoint.latest(folder) is None:
        return place(state, places)
    shape = lambda leaf, there: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=there)
    return checkpoint.restore(folder, jax.tree.map(shape, state, places))[0]


def run(
    step: StepFn,
    state: FixerTrainState,
    frozen: PyTree,
    batch_of: Callable[[int], PyTree],
    stop: int,
    config: LoopConfig,
) -> FixerTrainState:
    """Train up to step `stop`, from the newest checkpoint if there is one; return the state.

    On one mesh the result does not depend, bit for bit, on where earlier calls stopped.

    Args:
        step: from `make_step`.
        state: the start without a checkpoint; it is donated.
        frozen: placed by `sharding.shard`.
        batch_of: makes the batch of a step from its number alone, so that training is resumable.
        stop: number of steps, those of earlier calls included.
        config: folder, mesh and intervals.

    Raises:
        StoppedError: the training was asked to end early; its last step is saved.
        DivergedError: a metric is not finite at a check (every log line and checkpoint). No checkpoint is saved then,
            but the step that diverged is (see `runtime.divergence`).
    """
    folder, mesh, first = Path(config.folder), config.mesh, int(state.step)
    state = resume(folder, state, mesh)
    if int(state.step) == first and checkpoint.latest(folder) is None:
        checkpoint.save(folder, first, state, config.meta)  # to return to if the training diverges at once
    shapes = jax.eval_shape(lambda: state)

    def run_step(state: FixerTrainState, index: int) -> tuple[FixerTrainState, dict[str, Array]]:
        return step(state, frozen, shard_batch(batch_of(index), mesh))

    queue = StepQueue()
    for index in progress(stop, "fixer", start=int(state.step)):
        state, metrics = run_step(state, index)
        queue.add(metrics["loss"])
        done, is_stopped = index + 1, is_made_anywhere(config.request)
        is_saved = done % config.save_every == 0 or done == stop or is_stopped
        if is_saved or done % config.log_every == 0:
            numbers = {name: float(value) for name, value in metrics.items()}
            if nonfinite_metrics(numbers):
                del state  # its memory is needed to repeat the steps
                restore = lambda: resume(folder, shapes, mesh)
                raise diagnose(_replay(folder, restore, run_step, batch_of), done)
            if done % config.log_every == 0 or done == stop:
                config.log(done, numbers)
        if is_saved:
            checkpoint.save(folder, done, state, config.meta)
        if is_stopped:
            raise StoppedError(folder, done)
    return state


def is_made_anywhere(request: StopRequest) -> bool:
    """Check a request; all processes of a training stop together, so that no one waits for another."""
    is_made = request.check()
    return bool(multihost_utils.process_allgather(np.bool_(is_made)).any()) if jax.process_count() > 1 else is_made


def _replay(
    folder: Path,
    restore: Callable[[], FixerTrainState],
    run_step: Callable[..., Any],
    batch_of: Callable[[int], PyTree],
) -> Replay:
    def restore_with_step() -> tuple[FixerTrainState, int]:
        state = restore()
        return state, int(state.step)

    return Replay(
        name="training",
        folder=folder,
        restore=restore_with_step,
        run_step=run_step,
        params=lambda state: state.params,
        is_finite=lambda state, metrics: not nonfinite_metrics(metrics),
        input_of=lambda state, step: StepInput(state, {}, batch_of(step)),
        remedy="reduce the learning rate or check the data",
    )
