"""Phases of a run: each has a folder with its checkpoints and log, and is resumable."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
from jax import Array
from jaxtyping import Key, PyTree

from ff_jax.pipeline.config import FuseConfig, to_dict
from ff_jax.runtime import checkpoint
from ff_jax.runtime.divergence import diagnose
from ff_jax.runtime.progress import progress
from ff_jax.runtime.run_log import Logger
from ff_jax.runtime.stop import StoppedError, StopRequest
from ff_jax.train.batches import TrainBatches
from ff_jax.train.divergence import scene_replay
from ff_jax.train.loop import Event, Hooks, NotFiniteError, TrainPlan, no_event, train
from ff_jax.train.state import LoopState


@dataclasses.dataclass(frozen=True)
class Phase:
    """One phase of a run.

    Attributes:
        folder: of its checkpoints and its log.
        description: text of the progress bar.
        stop: step at which the phase ends.
        event: makes pseudo-views (see `Hooks`).
        request: ends the phase early.
        hooks: are called after the phase's own log, tick and save.
    """

    folder: Path
    description: str
    stop: int
    event: Event = no_event
    request: StopRequest = dataclasses.field(default_factory=StopRequest)
    hooks: Hooks = Hooks()

    @property
    def checkpoints(self) -> Path:
        """Return the folder of the checkpoints."""
        return self.folder / "checkpoints"

    @property
    def is_begun(self) -> bool:
        """Return whether `run_phase` will continue a checkpoint."""
        return checkpoint.latest(self.checkpoints) is not None


def run_phase(
    phase: Phase, state: LoopState, plan: TrainPlan, batches: TrainBatches, config: FuseConfig
) -> tuple[LoopState, TrainPlan]:
    """Train to the end of a phase, with checkpoints; a checkpoint that is there is continued.

    Args:
        phase: the phase.
        state: start of the phase if it has no checkpoint; its shapes are those of the checkpoints.
        plan: static settings; the capacity of a continued phase comes from its checkpoint.
        batches: recorded frames.
        config: the settings; written beside every checkpoint.

    Raises:
        StoppedError: the phase was asked to end early; its last step is saved.
        DivergedError: training diverged; its last good checkpoint is kept (see `runtime.divergence`).
    """
    newest = checkpoint.latest(phase.checkpoints)
    if newest is not None:
        state, meta, _ = checkpoint.restore(phase.checkpoints, state)
        plan = plan.with_capacity(meta["capacity"])
    start = int(state.train.step)
    is_loaded = newest is None and start == phase.stop == 0 and bool(config.init.scene)
    if start >= phase.stop and not is_loaded:
        return state, plan

    def save(step: int, state: LoopState, plan: TrainPlan) -> None:
        meta = {"capacity": plan.settings.capacity, "config": to_dict(config), "phase": phase.description}
        checkpoint.save(phase.checkpoints, step, state, meta, keep=2)
        phase.hooks.save(step, state, plan)
        if phase.request.is_made:
            raise StoppedError(phase.checkpoints, step)

    if newest is None:
        save(start, state, plan)  # where to go back to if training diverges at once
    if is_loaded:
        return state, plan
    with Logger(phase.folder, resume_step=start if newest is not None else None) as log:
        bar = progress(range(start, phase.stop), phase.description, start=start, total=phase.stop)

        def write(step: int, metrics: dict[str, float], plan: TrainPlan) -> None:
            log.log(step, metrics | {"capacity": plan.settings.capacity})
            bar.set_postfix_str(f"{metrics['psnr']:.2f} dB", refresh=False)
            phase.hooks.log(step, metrics, plan)

        def tick(step: int) -> None:
            bar.update()
            phase.hooks.tick(step)

        hooks = Hooks(phase.event, write, tick, save, config.save_every, phase.request.check)
        shapes = jax.eval_shape(lambda: state)
        try:
            with phase.request.loop():
                state, plan = train(state, phase.stop, plan, batches, hooks)
                if phase.request.is_made:  # while the last step was saved
                    raise StoppedError(phase.checkpoints, phase.stop)
        except NotFiniteError as error:
            replay = scene_replay(phase.folder, phase.description, shapes, plan, batches, phase.event)
            raise diagnose(replay, error.step) from error
        finally:
            bar.close()
    return state, plan


def load_or_compute(folder: Path, compute: Callable[[], PyTree], like: Callable[[], PyTree]) -> PyTree:
    """Load the pytree saved in `folder`, or compute it and save it there.

    Args:
        folder: of its checkpoint.
        compute: makes it.
        like: gives its structure, shapes and dtypes.
    """
    if checkpoint.latest(folder) is not None:
        return checkpoint.restore(folder, like())[0]
    value = compute()
    checkpoint.save(folder, 0, value, {}, keep=1)
    return value


def stream_key(config: FuseConfig, stream: int) -> Key[Array, ""]:
    """Derive the random key of one stream of a run."""
    return jax.random.fold_in(jax.random.key(config.seed), stream)
