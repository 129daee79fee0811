"""The loop around the training step: which batch, which event, which capacity. Everything else is pure."""

import dataclasses
import functools
import logging
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from jaxtyping import Bool, Int

from ff_jax.render.renderer import RenderSettings, bin_gaussians, project_gaussians
from ff_jax.scene import Scene, SceneParams, compose
from ff_jax.scene.scene import View
from ff_jax.train.batches import AHEAD, Feed, frame_at
from ff_jax.train.densify.step import is_density_step, make_density_step
from ff_jax.train.pseudo_views import Pool, pool_batch
from ff_jax.train.shift_schedule import ShiftSchedule, is_event, is_novel
from ff_jax.train.state import Pace, TrainState
from ff_jax.train.step import Batch, ReconConfig, make_train_step

_HEADROOM = 1.4  # capacity over the largest count seen: growing again means compiling again
_SMALLEST = 1 << 15  # a smaller capacity saves nothing worth a compilation
_IDLE = 0.2  # share of the capacity below which it shrinks
_FULL = 0.95  # share of the capacity at which it grows, before anything is dropped

make_train_step = functools.cache(make_train_step)
make_density_step = functools.cache(make_density_step)


@struct.dataclass
class Run:
    """What a checkpoint holds: the training state and the pool of pseudo-views."""

    state: TrainState
    pool: Pool


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The static side of a run.

    Attributes:
        recon: reconstruction settings.
        settings: renderer settings; only their capacity changes during a run.
        radius: extent of the camera path, metres.
        steps: over which falling rates fall.
        seed: order of the frames.
        schedule: when pseudo-views are made; None trains on recorded views only.
        novel_probability: share of the steps that look at pseudo-views once there are any.
        check_every: steps between two looks at the capacity and two log lines.
    """

    recon: ReconConfig
    settings: RenderSettings
    radius: float
    steps: int
    seed: int = 0
    schedule: ShiftSchedule | None = None
    novel_probability: float = 0.4
    check_every: int = 50


def nothing(*_: object) -> None:
    """Do nothing: the default hook."""


@dataclasses.dataclass(frozen=True)
class Hooks:
    """What happens around the steps.

    Attributes:
        event: (run, step, recipe) -> run; makes the pseudo-views of a fix event.
        log: (step, metrics, recipe) -> None; called every `check_every` steps with host numbers.
        tick: (step) -> None; called after every step.
        save: (step, run, recipe) -> None; called every `save_every` steps and at the end.
        save_every: steps between two saves.
    """

    event: Callable[[Run, int, Recipe], Run] = lambda run, *_: run
    log: Callable[[int, dict[str, float], Recipe], None] = nothing
    tick: Callable[[int], None] = nothing
    save: Callable[[int, Run, Recipe], None] = nothing
    save_every: int = 1000


class NotFiniteError(ArithmeticError):
    """The loss or a parameter is no longer a finite number; `step` is where that was noticed."""

    def __init__(self, step: int):
        super().__init__(f"loss or parameters are not finite at step {step}")
        self.step = step


def train(run: Run, stop: int, recipe: Recipe, feed: Feed, hooks: Hooks = Hooks()) -> tuple[Run, Recipe]:
    """Train up to step `stop`; return the run and the recipe with the capacity that was needed.

    The result depends on the run, the recipe and the log alone, not on where earlier calls stopped, as long as
    they stopped at multiples of `check_every`.

    Raises:
        NotFiniteError: the training diverged; nothing of it was saved.
    """
    for step in range(int(run.state.step), stop):
        run, shown = advance(run, step, recipe, feed, hooks.event)
        hooks.tick(step + 1)
        if (step + 1) % recipe.check_every == 0 or step + 1 == stop:
            if not is_finite(run.state.scene.params, shown["loss"]):
                raise NotFiniteError(step + 1)
            run, recipe = check_capacity(run, recipe)
            hooks.log(step + 1, {name: float(value) for name, value in shown.items()}, recipe)
        if (step + 1) % hooks.save_every == 0 or step + 1 == stop:
            hooks.save(step + 1, run, recipe)
    return run, recipe


def advance(
    run: Run, step: int, recipe: Recipe, feed: Feed, event: Callable[[Run, int, Recipe], Run]
) -> tuple[Run, dict[str, Array]]:
    """Return the run after `step`, whose state is donated, and what the log shows of it."""
    run = with_event(run, step, recipe, event)
    pace, recon = Pace(recipe.radius, recipe.steps), whenever(recipe.recon)
    is_due = is_density_step(step, recipe.recon.density)
    state = make_density_step(recon)(run.state, pace) if is_due else run.state
    state, shown = make_train_step(recon, recipe.settings)(state, next_batch(run, step, recipe, feed), pace)
    if not feed.is_kept:
        following = (choose(run, later, recipe, feed) for later in range(step + 1, step + 1 + AHEAD))
        feed.expect([index for novel, index in following if not novel])
    return run.replace(state=state), shown


def whenever(recon: ReconConfig) -> ReconConfig:
    """Return the settings without when density control runs: the programs are the same whenever that is."""
    return dataclasses.replace(recon, density=dataclasses.replace(recon.density, start=0, stop=0))


def with_event(run: Run, step: int, recipe: Recipe, event: Callable[[Run, int, Recipe], Run]) -> Run:
    """Return the run with the pseudo-views of a fix event, if one comes just before `step`."""
    return event(run, step, recipe) if recipe.schedule and is_event(step, recipe.schedule) else run


@jax.jit
def is_finite(params: SceneParams, loss: Array) -> Bool[Array, ""]:
    """Return whether the loss and all parameters are finite numbers."""
    finite = lambda leaf: jnp.isfinite(leaf).all()
    return jnp.stack(jax.tree.leaves(jax.tree.map(finite, (params, loss)))).all()


def choose(run: Run, step: int, recipe: Recipe, feed: Feed) -> tuple[bool, int]:
    """Return whether `step` looks at a pseudo-view, and its slot of the pool or the number of the recorded frame."""
    if recipe.schedule and is_novel(recipe.seed, step, recipe.schedule, recipe.novel_probability):
        filled = int(run.pool.filled)
        if filled:
            return True, frame_at(recipe.seed + 1, step, filled)
    return False, frame_at(recipe.seed, step, len(feed.frames))


def next_batch(run: Run, step: int, recipe: Recipe, feed: Feed) -> Batch:
    """Return the batch of `step`: a pseudo-view with the recipe's probability, else a recorded image."""
    novel, index = choose(run, step, recipe, feed)
    if not novel:
        return feed.batch(index)
    first = run.state.scene.params.exposure.shape[0] - run.pool.images.shape[0]
    return pool_batch(run.pool, jnp.int32(index), jnp.int32(first))


def check_capacity(run: Run, recipe: Recipe) -> tuple[Run, Recipe]:
    """Grow the intersection capacity when the last steps came close to it; the count starts anew."""
    needed = int(run.state.needed)
    if needed > recipe.settings.capacity:
        logging.getLogger(__name__).warning(
            "%d tile intersections, capacity %d: the farthest were dropped since the last check; growing it.",
            needed,
            recipe.settings.capacity,
        )
    recipe = dataclasses.replace(recipe, settings=fitted(recipe.settings, needed, shrink=True))
    return run.replace(state=run.state.replace(needed=jnp.int32(0))), recipe


def fitted(settings: RenderSettings, needed: int, *, shrink: bool = False) -> RenderSettings:
    """Return the settings with more capacity if `needed` comes close to what they have.

    Capacities are powers of two and their middles, so that few of them are ever compiled.

    Args:
        settings: renderer settings.
        needed: intersections that were counted.
        shrink: also give capacity back when most of it is idle (sorting costs time in proportion to it).
    """
    idle = shrink and needed < _IDLE * settings.capacity and settings.capacity > 2 * _SMALLEST
    if needed <= _FULL * settings.capacity and not idle:
        return settings
    wanted = max(int(needed * _HEADROOM), _SMALLEST)
    unit = 1 << max(wanted.bit_length() - 2, 0)
    return dataclasses.replace(settings, capacity=-(-wanted // unit) * unit)


def count_needed(scene: Scene, views: Sequence[View], settings: RenderSettings) -> int:
    """Return the largest number of tile intersections over `views`."""
    counting = dataclasses.replace(settings, capacity=1)
    return max(int(_count(scene, view, counting)) for view in views)


@functools.partial(jax.jit, static_argnames=("settings",))
def _count(scene: Scene, view: View, settings: RenderSettings) -> Int[Array, ""]:
    gaussians, alive, _ = compose(scene, view.time)
    projected = project_gaussians(gaussians, alive, view.camera, settings, 0)
    return bin_gaussians(projected, view.camera, settings).needed
