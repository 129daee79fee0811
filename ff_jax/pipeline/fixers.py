"""The fixers of a run: pretrained, or trained on the log itself, and the hook that runs them."""

import dataclasses
import json
from pathlib import Path

import jax
from jaxtyping import PyTree

from ff_jax.eig.scene_posterior import fit_posterior
from ff_jax.fixers import registry, self_fit
from ff_jax.fixers.fixer import Fixer
from ff_jax.pipeline.config import FuseConfig
from ff_jax.pipeline.fix_event import FixEvent, add_pseudo_views
from ff_jax.pipeline.phases import load_or_compute, stream_key
from ff_jax.pipeline.self_fit_pairs import self_fit_pairs
from ff_jax.runtime.progress import progress
from ff_jax.runtime.stop import StopRequest
from ff_jax.train.batches import TrainBatches
from ff_jax.train.loop import Event, TrainPlan
from ff_jax.train.shift_schedule import is_expanding, shift_at
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


def fixers_for(batches: TrainBatches, config: FuseConfig, workdir: Path, request: StopRequest) -> tuple[Fixer, Fixer]:
    """Make the fixers of a run: one while the path moves outwards, one after it (`late_fixer`)."""
    names = config.fixer, config.late_fixer or config.fixer
    fixers = {name: _make_fixer(name, batches, config, workdir, request) for name in dict.fromkeys(names)}
    return fixers[names[0]], fixers[names[1]]


def _make_fixer(name: str, batches: TrainBatches, config: FuseConfig, workdir: Path, request: StopRequest) -> Fixer:
    """Make the fixer called `name`; `self_fit` is trained on the log first, or loaded."""
    if name != "self_fit":
        return pretrained_fixer(name, config)
    settings = config.self_fit if config.eig.use_eig else registry.self_fit_without_eig(config.self_fit)
    untrained = registry.make_fixer("self_fit", config=settings, key=stream_key(config, _FIT))

    def train() -> PyTree:
        pairs = self_fit_pairs(batches, untrained, config, workdir / "subsampled", request)
        with progress(settings.steps, "fitting the fixer") as bar:
            fixer, history = self_fit.fit(stream_key(config, _FIT), pairs, settings, bar)
        (workdir / "fixer").mkdir(parents=True, exist_ok=True)
        (workdir / "fixer" / "history.json").write_text(json.dumps(history, indent=2))
        return fixer.params

    params = load_or_compute(workdir / "fixer" / "params", train, lambda: untrained.params)
    return dataclasses.replace(untrained, params=params)


def pretrained_fixer(name: str, config: FuseConfig) -> Fixer:
    """Load a pretrained fixer, with or without EIG as the config says."""
    fixer = registry.make_fixer(name)
    return fixer if config.eig.use_eig or name == "none" else registry.without_eig(fixer)


def fix_hook(batches: TrainBatches, fixers: tuple[Fixer, Fixer], config: FuseConfig) -> Event:
    """Make the hook of the fix events: the first fixer while the path moves outwards, then the second."""

    def event(state: LoopState, step: int, plan: TrainPlan) -> LoopState:
        if config.fixer == "none":
            return state
        model, shift = plan.model(state.train, step), shift_at(step, config.schedule)
        inputs = FixEvent(
            model=model,
            posterior=fit_posterior(model, batches, config.eig.priors),
            batches=batches,
            fixer=fixers[not is_expanding(step, config.schedule)],
            shifts=[side * shift for side in config.schedule.sides],
            config=config.eig,
            stride=config.event_stride,
        )
        key = jax.random.fold_in(stream_key(config, _FIX), step)
        return state.replace(pseudo_views=add_pseudo_views(key, state.pseudo_views, inputs))

    return event
