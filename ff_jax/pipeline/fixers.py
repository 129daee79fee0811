"""The fixers of a run: pretrained, or trained on the log itself, and the hook that runs them."""

import dataclasses
import functools
import json
import logging
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from ff_jax.data.points.surface import surface_points
from ff_jax.eig.config import NONE
from ff_jax.eig.scene_posterior import fit_posterior
from ff_jax.eig.signals import RecordedScene
from ff_jax.fixers import registry, self_fit
from ff_jax.fixers.fixer import Fixer, fix_triples
from ff_jax.fixers.skill import USEFUL, Skill, full_skill, measure_skill, no_skill
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.fix_event import FixEvent, add_pseudo_views
from ff_jax.pipeline.measured_points import points_at_event
from ff_jax.pipeline.phases import load_or_compute, stream_key
from ff_jax.pipeline.self_fit_pairs import self_fit_pairs
from ff_jax.pipeline.signals import EXACT, Signals, prepare_signals
from ff_jax.runtime.progress import progress
from ff_jax.runtime.stop import StopRequest
from ff_jax.train.batches import TrainBatches
from ff_jax.train.loop import Event, TrainPlan
from ff_jax.train.pseudo_views import emptied
from ff_jax.train.shift_schedule import is_expanding, shifts_until
from ff_jax.train.state import LoopState

_FIT, _FIX = 11, 12  # random streams


def check_fixers(config: FuseConfig) -> None:
    """Check the names of the fixers.

    Raises:
        ValueError: there is no fixer of that name.
    """
    registry.check_name(config.fixer)
    if config.late_fixer:
        registry.check_name(config.late_fixer, "late_fixer")


class MeasuredFixer(NamedTuple):
    """A fixer with its measured skill on the log of a run."""

    fixer: Fixer
    skill: Skill


def fixers_for(
    batches: TrainBatches, config: FuseConfig, workdir: Path, request: StopRequest, subsampled: Path | None = None
) -> tuple[MeasuredFixer, MeasuredFixer]:
    """Make the fixers of a run: one while the path moves outwards, one after it (`late_fixer`).

    Args:
        batches: the recorded frames.
        config: the settings.
        workdir: folder of the run.
        request: ends it early.
        subsampled: folder of the reconstruction from a part of the frames; None takes one in `workdir`.
    """
    names = config.fixer, config.late_fixer or config.fixer
    folder = subsampled or workdir / ("under-trained" if config.pairs.stops else "subsampled")
    fixers = {name: _make_fixer(name, batches, config, (workdir, folder), request) for name in dict.fromkeys(names)}
    return fixers[names[0]], fixers[names[1]]


def _make_fixer(
    name: str, batches: TrainBatches, config: FuseConfig, folders: tuple[Path, Path], request: StopRequest
) -> MeasuredFixer:
    """Make the fixer called `name` and measure its skill; both are loaded where a resumed run has them.

    Its skill is measured on held-out views of a reconstruction from a part of the frames. `self_fit` is trained on
    some of these views and measured on the others.
    """
    if name == "none":
        return MeasuredFixer(registry.make_fixer(name), no_skill())
    if name != "self_fit" and not config.use_skill:
        return MeasuredFixer(pretrained_fixer(name, config), full_skill())
    settings, (workdir, subsampled) = self_fit_settings(config), folders
    is_trained = name != "self_fit"
    untrained = registry.make_fixer("self_fit", config=settings, key=stream_key(config, _FIT))
    fixer, folder = pretrained_fixer(name, config) if is_trained else untrained, workdir / "fixer" / name

    def measure() -> tuple[PyTree, Skill]:
        trained = fixer
        pairs = self_fit_pairs(batches, fixer, config, subsampled, request)
        if not is_trained:
            with progress(settings.steps, "fitting the fixer") as bar:
                trained, history = self_fit.fit(stream_key(config, _FIT), pairs, settings, bar)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "history.json").write_text(json.dumps(history, indent=2))
            _, block = self_fit.split_triples(stream_key(config, _FIT), len(pairs.eigs), settings)
            pairs = jax.tree.map(lambda x: x[block], pairs)
        fixed = fix_triples(trained, stream_key(config, _FIX), pairs)
        return {} if is_trained else trained.params, measure_skill(fixed, pairs)

    params, skill = load_or_compute(folder, measure, lambda: ({} if is_trained else fixer.params, no_skill()))
    skill = skill if config.use_skill else full_skill()
    return MeasuredFixer(fixer if is_trained else dataclasses.replace(fixer, params=params), skill)


def pretrained_fixer(name: str, config: FuseConfig) -> Fixer:
    """Load a pretrained fixer, with or without EIG as the config says."""
    fixer = registry.make_fixer(name)
    if name == "none" or config.eig.signals.guidance != NONE:
        return fixer
    is_blended = config.eig.signals.blend != NONE
    return registry.without_guidance(fixer) if is_blended else registry.without_eig(fixer)


def self_fit_settings(config: FuseConfig) -> self_fit.SelfFitConfig:
    """Return the settings of `self_fit`, with or without EIG as the config says."""
    if config.eig.signals.guidance != NONE:
        return config.self_fit
    is_blended = config.eig.signals.blend != NONE
    return (registry.self_fit_without_guidance if is_blended else registry.self_fit_without_eig)(config.self_fit)


def fix_hook(batches: TrainBatches, fixers: tuple[MeasuredFixer, MeasuredFixer], config: FuseConfig) -> Event:
    """Make the hook of the fix events: the first fixer while the path moves outwards, then the second.

    An event replaces all pseudo-views, so that none is older than the last event: those of the largest shifts so far,
    as many as `pseudo_view_capacity` holds; or it adds to them (`schedule.update`). Without a useful fixer it makes
    views that supervise depth alone; without measured points, too, it makes none.
    """

    # Read at the first event, and once: merging the sweeps of a long log takes a while.
    stored = functools.cache(lambda: surface_points(batches.recording, np.random.default_rng(config.seed)))

    def event(state: LoopState, step: int, plan: TrainPlan) -> LoopState:
        fixer, skill = fixers[not is_expanding(step, config.schedule)]
        if config.fixer == "none":
            return state
        model = plan.model(state.train, step)
        posterior = fit_posterior(model, batches, config.eig.priors)
        rng = np.random.default_rng([config.seed, step])
        points = points_at_event(stored(), batches, posterior, rng) if config.novel_depth else None
        kept = state.pseudo_views if config.schedule.update == "keep" else emptied(state.pseudo_views)
        if points is None and not skill.is_useful:
            return state.replace(pseudo_views=kept)
        inputs = FixEvent(
            model=model,
            posterior=posterior,
            batches=batches,
            fixer=fixer if skill.is_useful else registry.make_fixer("none"),
            skill=skill if skill.is_useful else no_skill(),
            points=points,
            shifts=event_shifts(step, config, len(batches)),
            config=config.eig,
            stride=config.event_stride,
            signals=_prepared(skill, config, RecordedScene(model, batches, config.eig.priors, posterior)),
        )
        key = jax.random.fold_in(stream_key(config, _FIX), step)
        return state.replace(pseudo_views=add_pseudo_views(key, kept, inputs))

    return event


def _prepared(skill: Skill, config: FuseConfig, recorded: RecordedScene) -> Signals | None:
    """Prepare the signals of an event; None where no repair is used, or all of them are exact EIG."""
    names = config.eig.signals
    return prepare_signals(names, recorded) if skill.is_useful and set(names) != {EXACT} else None


def event_shifts(step: int, config: FuseConfig, frames: int) -> list[float]:
    """List the shifts (meters, left positive) of an event: the largest ones so far that fit into the buffer.

    With `schedule.update` "keep" it is the last one alone.
    """
    per_size = len(range(0, frames, config.event_stride)) * len(config.schedule.sides)
    count = 1 if config.schedule.update == "keep" else config.pseudo_view_capacity // per_size
    sizes = shifts_until(step, config.schedule)[-count:]
    return [side * size for size in sizes for side in config.schedule.sides]


def report_skill(fixers: tuple[MeasuredFixer, MeasuredFixer]) -> dict[str, float]:
    """Return the skill of the fixers of a run by name: the share of the squared error that they remove.

    A fixer without skill is reported as a warning, because its fix events are skipped.
    """
    skills = {fixer.name: skill for fixer, skill in fixers if fixer.name != "none"}
    for name, skill in skills.items():
        if not skill.is_useful:
            logging.getLogger(__name__).warning(
                "fixer %s removes %.1f %% of the squared error on held-out views of this log, less than %.0f %%: its "
                "repairs are not used.",
                name,
                100 * float(skill.overall),
                100 * USEFUL,
            )
    return {name: float(skill.overall) for name, skill in skills.items()}
