"""A phase of a training: one loss, its own folder of checkpoints, a time limit, averaged weights."""

import time
from collections.abc import Callable
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Array, Key, PyTree

from ff_jax.fixers.training.loop import LoopConfig, is_made_anywhere, make_step, resume, run
from ff_jax.fixers.training.sharding import shard
from ff_jax.fixers.training.state import Loss, OptimizerConfig, init_state, make_optimizer
from ff_jax.fixers.training.weight_average import averaged_params, with_weight_average
from ff_jax.runtime import checkpoint
from ff_jax.runtime.settings import MAX_STEPS, Settings, bounded
from ff_jax.runtime.stop import StoppedError, StopRequest

_WARMUP = 500  # steps; a tenth of a shorter phase
_OVER = "over"  # file in the folder of a phase that has reached its own time limit


@dataclass(frozen=True)
class PhaseConfig(Settings):
    """How a phase trains.

    Attributes:
        steps: number of steps, after which the learning rate is 0.
        lr: peak learning rate.
        decay: of the averaged weights.
        save_every: steps between two checkpoints.
        minutes: of one run, after which the phase ends at its next checkpoint; 0: no limit.
    """

    steps: int = bounded(MISSING, 1, MAX_STEPS)
    lr: float = bounded(MISSING, 0.0, 10.0)
    decay: float = bounded(0.999, 0.0, 0.999999)
    save_every: int = bounded(1000, 1, MAX_STEPS)
    minutes: float = bounded(0.0, 0.0, 1e6)


class Problem(NamedTuple):
    """What a phase optimizes.

    Attributes:
        loss: see `state.Loss`.
        params: the initial trained parameters.
        frozen: what else the loss needs.
        batch_of: makes a batch from a random key.
    """

    loss: Loss
    params: PyTree
    frozen: PyTree
    batch_of: Callable[[Key[Array, ""]], PyTree]


class PhaseContext(NamedTuple):
    """Where a phase runs.

    Attributes:
        folder: of the checkpoints.
        key: random key of all draws.
        mesh: devices.
        meta: stored beside each checkpoint (the whole configuration); JSON values.
        deadline: of `time.monotonic`; the first checkpoint after it is the last one of this run.
        log: called with the step, its metrics and None; at checkpoints with the step, None and the averaged weights.
        request: ends the training early.
    """

    folder: Path
    key: Key[Array, ""]
    mesh: Mesh
    meta: dict[str, Any]
    deadline: float = float("inf")
    log: Callable[[int, dict[str, float] | None, PyTree | None], None] = lambda *_: None
    request: StopRequest | None = None


def train_phase(problem: Problem, config: PhaseConfig, context: PhaseContext) -> tuple[PyTree, bool]:
    """Train up to `config.steps` or a time limit, from the newest checkpoint.

    Returns:
        The averaged parameters, and whether the phase is over.

    Raises:
        StoppedError: the training was asked to end early; its last step is saved.
    """
    folder, key, mesh, meta, deadline, log, request = context
    request = request or StopRequest()
    rate = OptimizerConfig(steps=config.steps, warmup=min(_WARMUP, config.steps // 10), lr=config.lr)
    optimizer = with_weight_average(make_optimizer(rate), config.decay)
    state, step = init_state(key, problem.params, optimizer), make_step(problem.loss, optimizer, mesh)
    if (folder / _OVER).exists():
        return _local_copy(averaged_params(resume(folder, state, mesh))), True
    limit = time.monotonic() + 60 * config.minutes if config.minutes else float("inf")
    frozen, stop = shard(problem.frozen, mesh), 0
    batch_of = lambda index: problem.batch_of(jax.random.fold_in(key, index))
    loop = LoopConfig(
        folder, mesh, meta, config.save_every, lambda step, metrics: log(step, metrics, None), request=request
    )
    while stop < config.steps and (stop == 0 or not _is_past(min(deadline, limit))):
        stop = min(max(_last_multiple(folder, config.save_every), stop) + config.save_every, config.steps)
        with request.loop():
            state = run(step, state, frozen, batch_of, stop, loop)
            if is_made_anywhere(request):  # while the last step was saved
                raise StoppedError(folder, stop)
        log(stop, None, _local_copy(averaged_params(state)))
    if over := _is_past(limit):
        (folder / _OVER).touch()
    return _local_copy(averaged_params(state)), over or stop == config.steps


def _local_copy(params: PyTree) -> PyTree:
    """Copy parameters that every device holds whole to this process."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), params)


def _is_past(moment: float) -> bool:
    """Check a `time.monotonic`; the first process decides for all, because they must stop together."""
    return bool(multihost_utils.broadcast_one_to_all(np.bool_(time.monotonic() >= moment)))


def _last_multiple(folder: Path, every: int) -> int:
    """Round the step of the newest checkpoint down to a multiple of `every`; 0 without a checkpoint."""
    newest = checkpoint.latest(folder)
    return 0 if newest is None else newest // every * every
