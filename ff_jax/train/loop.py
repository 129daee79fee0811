"""The loop around the training step: which batch, which event, which capacity. Everything else is pure."""

import dataclasses
import functools
import logging
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool

from ff_jax.render.renderer import RenderSettings
from ff_jax.runtime.compile_ahead import CompileAhead, shapes_of
from ff_jax.runtime.step_queue import StepQueue
from ff_jax.scene import SceneModel, SceneParams
from ff_jax.train.batch import Batch
from ff_jax.train.batches import PREFETCH, TrainBatches, frame_at
from ff_jax.train.capacity import is_near_full, next_capacity, resize_capacity
from ff_jax.train.config import ReconConfig, active_sh_degree
from ff_jax.train.densify.step import is_density_step, make_density_step
from ff_jax.train.optimizer import ScheduleScale
from ff_jax.train.pseudo_views import pseudo_batch
from ff_jax.train.shift_schedule import ShiftSchedule, draw_slot, is_event, is_novel, shifts_until
from ff_jax.train.state import LoopState, TrainState
from ff_jax.train.step import make_train_step

_CHECKS_TO_SHRINK = 20  # checks between two at which the capacity may shrink: rarely, as it means compiling again

_cached_train_step = functools.cache(make_train_step)
_cached_density_step = functools.cache(make_density_step)


@dataclasses.dataclass(frozen=True)
class TrainPlan:
    """The static side of a training run.

    Attributes:
        recon: reconstruction settings.
        settings: renderer settings; only their capacity changes during a run.
        radius: extent of the camera path, meters.
        steps: length of the learning-rate decay.
        seed: of the order of the frames.
        schedule: when pseudo-views are made; None trains on recorded views only.
        novel_probability: share of the steps that train on a pseudo-view as well, once there are any.
        check_every: steps between two checks of the capacity, and between two log lines.
    """

    recon: ReconConfig
    settings: RenderSettings
    radius: float
    steps: int
    seed: int = 0
    schedule: ShiftSchedule | None = None
    novel_probability: float = 0.4
    check_every: int = 50

    @property
    def scale(self) -> ScheduleScale:
        """Return the scales of the learning-rate schedules."""
        return ScheduleScale(self.radius, self.steps)

    def sh_degree(self, step: int) -> int:
        """Return the highest color band that is active at a step."""
        return int(active_sh_degree(step, self.recon))

    def model(self, state: TrainState, step: int | None = None) -> SceneModel:
        """Return the scene of a training state, ready to render, with the color bands of `step` (default: its own)."""
        degree = self.sh_degree(int(state.step) if step is None else step)
        return SceneModel(state.scene, self.settings, jnp.int32(degree))

    def with_capacity(self, capacity: int) -> "TrainPlan":
        """Return the plan with another capacity of tile intersections."""
        return dataclasses.replace(self, settings=dataclasses.replace(self.settings, capacity=capacity))


Event = Callable[[LoopState, int, TrainPlan], LoopState]


def no_event(state: LoopState, step: int, plan: TrainPlan) -> LoopState:
    """Return the state unchanged: the default event."""
    return state


def do_nothing(*_: object) -> None:
    """Do nothing: the default hook."""


def never() -> bool:
    """Return False: the default of `Hooks.should_save`."""
    return False


@dataclasses.dataclass(frozen=True)
class Hooks:
    """Callbacks of the loop.

    Attributes:
        event: (state, step, plan) -> state; makes the pseudo-views of a fix event.
        log: (step, metrics, plan) -> None; called every `check_every` steps with host numbers.
        tick: (step) -> None; called after every step.
        save: (step, state, plan) -> None; called every `save_every` steps and at the end.
        save_every: steps between two saves.
        should_save: () -> whether to save after this step as well, as before an early end.
    """

    event: Event = no_event
    log: Callable[[int, dict[str, float], TrainPlan], None] = do_nothing
    tick: Callable[[int], None] = do_nothing
    save: Callable[[int, LoopState, TrainPlan], None] = do_nothing
    save_every: int = 1000
    should_save: Callable[[], bool] = never


class NotFiniteError(ArithmeticError):
    """The loss or a parameter is not a finite number; `step` is the step of the check that failed."""

    def __init__(self, step: int):
        super().__init__(f"loss or parameters are not finite at step {step}")
        self.step = step


def train(
    state: LoopState, stop: int, plan: TrainPlan, batches: TrainBatches, hooks: Hooks = Hooks()
) -> tuple[LoopState, TrainPlan]:
    """Train up to step `stop`; return the state, and the plan with the capacity that was needed.

    The result depends on the state, the plan and the log only, not on where earlier calls stopped, as long as
    they stopped at multiples of `check_every`.

    The programs of the steps are compiled side by side, those that are needed later while training goes on. A later
    capacity is chosen at the same step whether its program is ready or waited for.

    Raises:
        NotFiniteError: the training diverged; nothing of it was saved.
    """
    queue, ahead = StepQueue(), CompileAhead()
    start = int(state.train.step)
    if start < stop:
        compile_ahead(ahead, state, plan, batches, stop)
    for step in range(start, stop):
        ahead.wait(*programs(plan, step))
        state, metrics = run_step(state, step, plan, batches, hooks.event)
        queue.add(metrics["loss"])
        hooks.tick(step + 1)
        is_check = (step + 1) % plan.check_every == 0 or step + 1 == stop
        is_save = (step + 1) % hooks.save_every == 0 or step + 1 == stop or hooks.should_save()
        if is_check or is_save:
            ahead.wait(is_finite)
            if not is_finite(state.train.scene.params, metrics["loss"]):
                raise NotFiniteError(step + 1)
        if is_check:
            if step + 1 < stop:
                compile_next(ahead, state, plan, batches)
            state, plan = check_capacity(state, plan, step + 1)
            hooks.log(step + 1, {name: float(value) for name, value in metrics.items()}, plan)
        if is_save:
            hooks.save(step + 1, state, plan)
    return state, plan


def programs(plan: TrainPlan, step: int) -> list[Callable]:
    """List the jitted functions that a step calls, without those of an event."""
    recon = without_density_schedule(plan.recon)
    train_step = _cached_train_step(recon, plan.settings)
    is_due = is_density_step(step, plan.recon.density)
    return [train_step.gradient, train_step.update] + ([_cached_density_step(recon)] if is_due else [])


def compile_ahead(ahead: CompileAhead, state: LoopState, plan: TrainPlan, batches: TrainBatches, stop: int) -> None:
    """Begin to compile the programs of all steps before `stop`."""
    recon, start = without_density_schedule(plan.recon), int(state.train.step)
    shapes = shapes_of(state.train)
    _cached_train_step(recon, plan.settings).compile_ahead(ahead, shapes, _any_batch(plan, start, batches), plan.scale)
    ahead.start(is_finite, shapes.scene.params, jax.ShapeDtypeStruct((), jnp.float32))
    if any(is_density_step(step, plan.recon.density) for step in range(start, stop)):
        ahead.start(_cached_density_step(recon), shapes, plan.scale)


def compile_next(ahead: CompileAhead, state: LoopState, plan: TrainPlan, batches: TrainBatches) -> None:
    """Begin to compile the step for the next capacity, if the count of the state is near the present one."""
    if is_near_full(plan.settings, int(state.train.num_intersections)):
        larger = plan.with_capacity(next_capacity(plan.settings.capacity))
        train_step = _cached_train_step(without_density_schedule(plan.recon), larger.settings)
        batch = _any_batch(plan, int(state.train.step), batches)
        train_step.compile_ahead(ahead, shapes_of(state.train), batch, plan.scale)


def _any_batch(plan: TrainPlan, step: int, batches: TrainBatches) -> Batch:
    """Return the recorded image of a step; all images have one shape."""
    return batches.batch(frame_at(plan.seed, step, len(batches)))


def run_step(
    state: LoopState, step: int, plan: TrainPlan, batches: TrainBatches, event: Event
) -> tuple[LoopState, dict[str, Array]]:
    """Run one step: event, density control, gradient step. The training state is donated.

    Returns:
        The state after the step, and the metrics of the step.
    """
    state = run_event(state, step, plan, event)
    recon = without_density_schedule(plan.recon)
    is_due = is_density_step(step, plan.recon.density)
    before = _cached_density_step(recon)(state.train, plan.scale) if is_due else state.train
    train_step = _cached_train_step(recon, plan.settings)
    batch, pseudo_view = next_batch(state, step, plan, batches)
    after, metrics = train_step(before, batch, plan.scale, pseudo_view)
    if not batches.is_cached:
        upcoming = range(step + 1, step + 1 + PREFETCH)
        batches.prefetch([frame_at(plan.seed, later, len(batches)) for later in upcoming])
    return state.replace(train=after), metrics


def without_density_schedule(recon: ReconConfig) -> ReconConfig:
    """Remove the schedule of density control from the settings: the compiled steps do not depend on it."""
    return dataclasses.replace(recon, density=dataclasses.replace(recon.density, start=0, stop=0))


def run_event(state: LoopState, step: int, plan: TrainPlan, event: Event) -> LoopState:
    """Make the pseudo-views of a fix event, if one is due just before `step`."""
    return event(state, step, plan) if plan.schedule and is_event(step, plan.schedule) else state


@jax.jit
def is_finite(params: SceneParams, loss: Array) -> Bool[Array, ""]:
    """Check whether the loss and all parameters are finite numbers."""
    leaves = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((params, loss))]
    return jnp.stack(leaves).all()


def select_slot(state: LoopState, step: int, plan: TrainPlan) -> int | None:
    """Select the pseudo-view that a step trains on beside its recorded image; None for a step without one."""
    if plan.schedule is None or not is_novel(plan.seed, step, plan.schedule, plan.novel_probability):
        return None
    filled = int(state.pseudo_views.filled)
    if filled and plan.schedule.sampling == "linear":
        return draw_slot(plan.seed + 1, step, filled, len(shifts_until(step, plan.schedule)))
    return frame_at(plan.seed + 1, step, filled) if filled else None


def next_batch(state: LoopState, step: int, plan: TrainPlan, batches: TrainBatches) -> tuple[Batch, Batch | None]:
    """Return the recorded image of `step`, and the pseudo-view that is trained on beside it, if there is one."""
    batch = batches.batch(frame_at(plan.seed, step, len(batches)))
    slot = select_slot(state, step, plan)
    if slot is None:
        return batch, None
    first = state.train.scene.params.exposure.shape[0] - state.pseudo_views.capacity
    return batch, pseudo_batch(state.pseudo_views, jnp.int32(slot), jnp.int32(first))


def check_capacity(state: LoopState, plan: TrainPlan, step: int) -> tuple[LoopState, TrainPlan]:
    """Adapt the capacity to the largest number of tile intersections since the last check; reset that number.

    Args:
        state: its count is read and reset.
        plan: has the capacity.
        step: number of finished steps; the capacity shrinks after the last density control, at some checks only.
    """
    count = int(state.train.num_intersections)
    if count > plan.settings.capacity:
        logging.getLogger(__name__).warning(
            "%d tile intersections exceed the capacity of %d: the farthest were dropped since the last check; "
            "the capacity grows now.",
            count,
            plan.settings.capacity,
        )
    may_shrink = step >= plan.recon.density.stop and step % (_CHECKS_TO_SHRINK * plan.check_every) == 0
    plan = dataclasses.replace(plan, settings=resize_capacity(plan.settings, count, shrink=may_shrink))
    return state.replace(train=state.train.replace(num_intersections=jnp.int32(0))), plan
