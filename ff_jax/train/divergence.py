"""The replay of scene training (see `runtime.divergence`)."""

from pathlib import Path

import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Bool

from ff_jax.runtime import checkpoint
from ff_jax.runtime.divergence import Replay, StepInput
from ff_jax.scene import SceneParams
from ff_jax.train.batches import TrainBatches, frame_at
from ff_jax.train.loop import (
    Event,
    TrainPlan,
    check_capacity,
    is_finite,
    next_batch,
    run_event,
    run_step,
    select_slot,
)
from ff_jax.train.state import LoopState

_PlannedState = tuple[LoopState, TrainPlan]  # the capacity of the plan changes during training


def scene_replay(
    folder: Path, name: str, shapes: LoopState, plan: TrainPlan, batches: TrainBatches, event: Event
) -> Replay:
    """Make the replay of one phase of a run.

    Args:
        folder: of the phase; holds checkpoints/.
        name: of the phase, for messages.
        shapes: of the state.
        plan: static settings; the capacity is the checkpoint's.
        batches: recorded frames.
        event: makes pseudo-views.
    """

    def restore() -> tuple[_PlannedState, int]:
        state, meta, step = checkpoint.restore(folder / "checkpoints", shapes)
        return (state, plan.with_capacity(meta["capacity"])), step

    def repeat_step(planned: _PlannedState, step: int) -> tuple[_PlannedState, dict[str, ArrayLike]]:
        state, own_plan = planned
        state, metrics = run_step(state, step, own_plan, batches, event)
        is_check = (step + 1) % own_plan.check_every == 0
        return check_capacity(state, own_plan, step + 1) if is_check else (state, own_plan), {**metrics}

    def may_continue(planned: _PlannedState, metrics: dict[str, ArrayLike]) -> Bool[Array, ""]:
        return is_finite(params_of(planned), jnp.asarray(metrics["loss"]))

    def input_of(planned: _PlannedState, step: int) -> StepInput:
        state, own_plan = planned
        state = run_event(state, step, own_plan, event)
        index, slot = frame_at(own_plan.seed, step, len(batches)), select_slot(state, step, own_plan)
        source, details = _describe(batches, index, slot)
        meta = {"capacity": own_plan.settings.capacity}
        batch, pseudo_view = next_batch(state, step, own_plan, batches)
        images = {"recorded": batch} | ({} if pseudo_view is None else {"pseudo_view": pseudo_view})
        return StepInput(state, meta, images, source, details)

    def params_of(planned: _PlannedState) -> SceneParams:
        return planned[0].train.scene.params

    remedy = "reduce the learning rates (recon.optim) or check the data"
    return Replay(name, folder, restore, repeat_step, params_of, may_continue, input_of, remedy)


def _describe(batches: TrainBatches, index: int, slot: int | None) -> tuple[str, dict[str, dict]]:
    """Describe the origin of the images of a step, in words and for the report."""
    frame = batches.recording.frames[index]
    where = {"frame": index, "camera": frame.camera, "time": frame.time, "pseudo_view": slot}
    beside = "" if slot is None else f" and pseudo-view {slot}"
    return f"frame {index} of camera {frame.camera}{beside}", {"batch": where}
