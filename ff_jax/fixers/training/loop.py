"""One training step on a mesh, and the loop around it: which batch, when to save, where to go on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import optax
from jax import Array, lax
from jax.sharding import Mesh
from jaxtyping import PyTree

from ff_jax.fixers.training.divergence import broken_metric, investigate
from ff_jax.fixers.training.sharding import place, shard_batch, shardings
from ff_jax.fixers.training.state import GeneratorState, Loss, gradient
from ff_jax.runtime import checkpoint
from ff_jax.runtime.run_log import progress

Step = Callable[[GeneratorState, PyTree, PyTree], tuple[GeneratorState, dict[str, Array]]]


def make_step(loss: Loss, optimizer: optax.GradientTransformation, mesh: Mesh, microbatches: int = 1) -> Step:
    """Return step(state, frozen, batch) -> (state, metrics), compiled; it takes the memory of the state it is given.

    State and frozen parameters are placed by `mesh.shard`, the batch by `mesh.shard_batch`. Metrics are the loss's, its
    value ("loss") and the global norm of the gradient before it is clipped ("gradient").

    Args:
        loss: see `state.Loss`; gradients flow to the state's parameters alone.
        optimizer: of `state.make_optimizer`.
        mesh: of `mesh.make_mesh`.
        microbatches: what a batch is cut into, to bound the memory.
    """

    def step(state: GeneratorState, frozen: PyTree, batch: PyTree) -> tuple[GeneratorState, dict[str, Array]]:
        size = len(jax.tree.leaves(batch)[0])
        keys = jax.random.split(jax.random.fold_in(state.key, state.step), size)
        change, metrics = gradient(loss, state.params, frozen, batch, keys, microbatches, mesh)
        updates, opt = optimizer.update(change, state.opt, state.params)
        after = GeneratorState(state.step + 1, optax.apply_updates(state.params, updates), opt, state.key)
        # Placed as it came: the memory is taken over, and the next call finds what it was compiled for.
        after = lax.with_sharding_constraint(after, shardings(after, mesh))
        return after, {**metrics, "gradient": optax.global_norm(change)}

    return jax.jit(step, donate_argnums=0)


def resume(directory: str | Path, state: GeneratorState, mesh: Mesh) -> GeneratorState:
    """Return the state of the newest whole checkpoint, placed on the mesh; without one, `state` placed on it.

    Args:
        directory: that `run` wrote to, on whatever mesh.
        state: of `state.init_state`, or its shapes.
        mesh: to go on with.

    Raises:
        CheckpointError: the checkpoint has other parameters.
    """
    places = shardings(state, mesh)
    if checkpoint.latest(directory) is None:
        return place(state, places)
    shape = lambda leaf, there: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=there)
    return checkpoint.restore(directory, jax.tree.map(shape, state, places))[0]


def run(
    step: Step,
    state: GeneratorState,
    frozen: PyTree,
    batch_of: Callable[[int], PyTree],
    stop: int,
    directory: str | Path,
    mesh: Mesh,
    *,
    meta: dict[str, Any],
    save_every: int = 1000,
    log: Callable[[int, dict[str, float]], None] = lambda *_: None,
    log_every: int = 50,
) -> GeneratorState:
    """Train up to step `stop`, from the newest checkpoint if there is one; return the state.

    On one mesh the result does not depend, bit for bit, on where earlier calls stopped.

    Args:
        step: of `make_step`.
        state: where to start without a checkpoint; its memory is taken.
        frozen: placed by `mesh.shard`.
        batch_of: the batch of a step, by its number alone: nothing else is needed to go on.
        stop: number of steps, those of earlier calls included.
        directory: of the checkpoints.
        mesh: the one that `step` was made for.
        meta: kept beside each checkpoint (the configuration); what JSON can hold.
        save_every: steps between two checkpoints; the last step has one too.
        log: called with the number of finished steps and the metrics of the last.
        log_every: steps between two calls of it; the last step has one too.

    Raises:
        DivergedError: a metric is not a finite number where they are logged or a checkpoint is due; none is saved then,
            but the step that broke the training is (see `diverged`).
    """
    first, directory = int(state.step), Path(directory)
    state = resume(directory, state, mesh)
    if int(state.step) == first and checkpoint.latest(directory) is None:
        checkpoint.save(directory, int(state.step), state, meta)  # where to go back to if the training breaks at once
    shapes = jax.eval_shape(lambda: state)
    advance = lambda state, index: step(state, frozen, shard_batch(batch_of(index), mesh))
    for index in progress(stop, "generator", start=int(state.step)):
        state, metrics = advance(state, index)
        done = index + 1
        saved = done % save_every == 0 or done == stop
        if saved or done % log_every == 0:
            shown = {name: float(value) for name, value in metrics.items()}
            if broken_metric(shown):
                state = None  # its memory is needed to repeat the steps
                raise investigate(directory, lambda: resume(directory, shapes, mesh), advance, batch_of, done)
            if done % log_every == 0 or done == stop:
                log(done, shown)
        if saved:
            checkpoint.save(directory, done, state, meta)
    return state
