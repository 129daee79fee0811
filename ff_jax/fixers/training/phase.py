"""A phase of a training: one loss, its own folder of checkpoints, a time limit, averaged weights."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Array, Key, PyTree

from ff_jax.fixers.training.loop import make_step, resume, run
from ff_jax.fixers.training.sharding import shard
from ff_jax.fixers.training.state import Loss, OptimizerConfig, init_state, make_optimizer
from ff_jax.fixers.training.weight_average import average_of, averaged
from ff_jax.runtime import checkpoint

_WARMUP = 500  # steps; a tenth of a shorter phase
_OVER = "over"  # file in the folder of a phase that its own limit has ended


@dataclass(frozen=True)
class PhaseConfig:
    """How a phase trains.

    Attributes:
        steps: of the phase; its rate falls to 0 at their end.
        lr: largest rate.
        decay: of the averaged weights.
        save_every: steps between two checkpoints.
        minutes: of one run after which the phase is over at its next checkpoint, whatever its steps; 0 sets no limit.
    """

    steps: int
    lr: float
    decay: float = 0.999
    save_every: int = 1000
    minutes: float = 0.0


def train_phase(
    folder: Path,
    loss: Loss,
    params: PyTree,
    frozen: PyTree,
    batch_of: Callable[[Key[Array, ""]], PyTree],
    config: PhaseConfig,
    *,
    key: Key[Array, ""],
    mesh: Mesh,
    meta: dict[str, Any],
    deadline: float = float("inf"),
    log: Callable[[int, dict[str, float] | None, PyTree | None], None] = lambda *_: None,
) -> tuple[PyTree, bool]:
    """Train up to `config.steps` or a limit, from the newest checkpoint; return the averaged parameters and whether
    the phase is over.

    Args:
        folder: of the checkpoints.
        loss: see `state.Loss`.
        params: the trained parameters to start from.
        frozen: what else the loss needs.
        batch_of: a batch from a key.
        config: steps and rates.
        key: of all draws.
        mesh: devices.
        meta: kept beside each checkpoint (the whole configuration); what JSON can hold.
        deadline: of `time.monotonic`; the first checkpoint after it is the last one of this run.
        log: called with the step, its metrics and None; at checkpoints with the step, None and the average.
    """
    rate = OptimizerConfig(steps=config.steps, warmup=min(_WARMUP, config.steps // 10), lr=config.lr)
    optimizer = averaged(make_optimizer(rate), config.decay)
    state, step = init_state(key, params, optimizer), make_step(loss, optimizer, mesh)
    if (folder / _OVER).exists():
        return _own(average_of(resume(folder, state, mesh))), True
    limit = time.monotonic() + 60 * config.minutes if config.minutes else float("inf")
    frozen, stop = shard(frozen, mesh), 0
    draw = lambda index: batch_of(jax.random.fold_in(key, index))
    options = {"meta": meta, "save_every": config.save_every}
    while stop < config.steps and (stop == 0 or not _past(min(deadline, limit))):
        stop = min(max(_begun(folder, config.save_every), stop) + config.save_every, config.steps)
        state = run(step, state, frozen, draw, stop, folder, mesh, log=lambda *row: log(*row, None), **options)
        log(stop, None, _own(average_of(state)))
    if over := _past(limit):
        (folder / _OVER).touch()
    return _own(average_of(state)), over or stop == config.steps


def _own(params: PyTree) -> PyTree:
    """Return this process's copy of parameters that every device holds whole."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), params)


def _past(moment: float) -> bool:
    """Return whether a `time.monotonic` is over: the first process decides, or some would go on without the others."""
    return bool(multihost_utils.broadcast_one_to_all(np.bool_(time.monotonic() >= moment)))


def _begun(folder: Path, every: int) -> int:
    """Return the step of the newest checkpoint, rounded down to a multiple of `every`."""
    found = checkpoint.latest(folder)
    return 0 if found is None else found // every * every
