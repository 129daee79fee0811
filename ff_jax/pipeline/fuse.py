"""The main job as one function: reconstruct -> [render + EIG -> fix -> distil, d += 1 m]* -> evaluate and show.

workdir/thin, fixer      the thinned reconstruction and what `self_fit` learnt from it
workdir/recon            the reconstruction up to the first fix event
workdir/baseline         the same, trained on recorded views only to the last step: what fusing is compared with
workdir/fused            the progressive loop
workdir/results          metrics.json, index.html, pictures, flight.mp4, scene.ply
"""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from ff_jax.data.scene_data import SceneData
from ff_jax.eig.scene_posterior import learn
from ff_jax.fixers import registry
from ff_jax.fixers.fixer import Fixer
from ff_jax.pipeline.config import FuseConfig, from_dict, to_dict
from ff_jax.pipeline.fix_event import add_pseudo_views
from ff_jax.pipeline.initialize import make_feed, recorded_frames, start_run
from ff_jax.pipeline.phases import is_begun, key_of, restore_or, run_phase
from ff_jax.pipeline.results import Version, write_results
from ff_jax.pipeline.self_fit_pairs import thin_triples
from ff_jax.runtime.run_lock import hold
from ff_jax.runtime.run_log import peak_memory, progress, write_run_facts
from ff_jax.train.batches import Feed
from ff_jax.train.loop import Recipe, Run
from ff_jax.train.shift_schedule import is_expanding, shift_at

_FIT, _FIX = 11, 12  # random streams


def fuse(config: FuseConfig, log: SceneData, workdir: Path, *, resume: bool = False) -> dict[str, Any]:
    """Run the main job in `workdir` and return its metrics.

    Args:
        config: the settings.
        log: the driving log; its frames of split "train" are recorded views, those of "test" ground truth.
        workdir: folder of the run.
        resume: go on with the run in `workdir`; every phase continues from its last whole checkpoint.

    Raises:
        ValueError: `workdir` holds a run and `resume` is off, or a run with other settings, or one that is running.
    """
    started = time.time()
    with hold(workdir):
        facts = claim(workdir, config, resume)
        feed = recorded_feed(config, log)
        check_pool(config, len(feed.frames))
        fixers = make_fixers(log, feed, config, workdir)
        versions = run_phases(config, log, feed, workdir, make_event(feed, fixers, config))
        facts |= {"seconds": round(time.time() - started, 1)} | peak_memory()
        return write_results(workdir / "results", config, log, feed, versions, facts, curves_from(workdir))


def reconstruct(config: FuseConfig, log: SceneData, workdir: Path, *, resume: bool = False) -> dict[str, Any]:
    """Reconstruct from recorded views only, for all of `config.steps`, and return the metrics (see `fuse`)."""
    started = time.time()
    with hold(workdir):
        facts = claim(workdir, config, resume)
        feed = recorded_feed(config, log)
        run, recipe = start_run(log, feed, config, pool=0, steps=config.steps, shapes_only=is_begun(workdir / "recon"))
        run = run_phase(workdir / "recon", "reconstruction", run, recipe, config.steps, feed, config)
        versions = {"Reconstruction only": Version(*run)}
        facts |= {"seconds": round(time.time() - started, 1)} | peak_memory()
        return write_results(workdir / "results", config, log, feed, versions, facts, curves_from(workdir))


def finished(config: FuseConfig, log: SceneData, workdir: Path) -> tuple[Feed, dict[str, Version]]:
    """Return the feed and the trained scenes of a finished run of `fuse`, without training anything.

    Raises:
        ValueError: the run in `workdir` is not finished.
    """
    if not (workdir / "results" / "metrics.json").is_file():
        raise ValueError(f"{workdir} holds no finished run: finish it with `fuse --resume` first.")
    feed = recorded_feed(config, log)
    return feed, run_phases(config, log, feed, workdir, lambda run, *_: run)


def read_config(workdir: Path) -> FuseConfig:
    """Return the settings that a run was started with.

    Raises:
        ValueError: `workdir` holds no run, or one of a revision of this program with other settings.
    """
    written = workdir / "config.json"
    if not written.is_file():
        raise ValueError(f"{workdir} holds no run: {written.name} is missing.")
    try:
        return from_dict(FuseConfig, json.loads(written.read_text()))
    except ValueError as error:
        raise ValueError(
            f"{written} does not fit this revision of the program; use the one that env.json beside it names ({error})"
        ) from error


def recorded_feed(config: FuseConfig, log: SceneData) -> Feed:
    """Return the feed of all recorded frames.

    Raises:
        ValueError: there is none.
    """
    recorded = recorded_frames(log)
    if not recorded:
        raise ValueError(f"log {log.name!r} has no training frame: lower data.hold_out or select another camera.")
    return make_feed(log, recorded, config)


def run_phases(
    config: FuseConfig,
    log: SceneData,
    feed: Feed,
    workdir: Path,
    event: Callable[[Run, int, Recipe], Run],
) -> dict[str, Version]:
    """Reconstruct up to the first event; from there go on both without and with pseudo-views."""
    run, recipe = start_run(
        log, feed, config, pool=config.pool, steps=config.steps, shapes_only=is_begun(workdir / "recon")
    )
    start, stop = config.schedule.start, config.steps
    base, recipe = run_phase(workdir / "recon", "reconstruction", run, recipe, start, feed, config)
    # Training donates its input, so each of the two branches gets a copy.
    copy = jax.jit(lambda run: jax.tree.map(jnp.copy, run))
    baseline = run_phase(workdir / "baseline", "recorded views only", copy(base), recipe, stop, feed, config)
    recipe = dataclasses.replace(recipe, schedule=config.schedule, novel_probability=config.novel_probability)
    fused = run_phase(workdir / "fused", "fusing", copy(base), recipe, stop, feed, config, event)
    return {"Reconstruction only": Version(*baseline), "Fused": Version(*fused)}


def claim(workdir: Path, config: FuseConfig, resume: bool) -> dict[str, Any]:
    """Check that `workdir` is free or holds a run of the same settings that is to be continued; write its facts."""
    written = workdir / "config.json"
    if written.exists() and not resume:
        raise ValueError(f"{workdir} already holds a run: add --resume to go on with it, or name another folder.")
    if written.exists():
        before, now = json.loads(written.read_text()), json.loads(json.dumps(to_dict(config)))
        changed = sorted(name for name in now if before.get(name) != now[name])
        if changed:
            raise ValueError(
                f"{workdir} was started with another {changed[0]!r} setting: use the same settings, or another folder."
            )
    return write_run_facts(workdir, to_dict(config))


def check_pool(config: FuseConfig, frames: int) -> None:
    """Check that the pseudo-views of one event fit into the pool."""
    made = len(range(0, frames, config.event_stride)) * len(config.schedule.sides)
    if made > config.pool and config.fixer != "none":
        raise ValueError(
            f"one fix event makes {made} pseudo-views, pool={config.pool} holds fewer: raise pool or event_stride."
        )


def curves_from(workdir: Path) -> list[Path]:
    """Return the logs that a results page draws."""
    return [workdir / name / "metrics.jsonl" for name in ("recon", "fused")]


def make_fixers(log: SceneData, feed: Feed, config: FuseConfig, workdir: Path) -> tuple[Fixer, Fixer]:
    """Return the generators that the config names: while the trajectory moves outwards, and after (see `stages`)."""
    names = registry.stages(config.fixer)
    made = {name: make_fixer(name, log, feed, config, workdir) for name in dict.fromkeys(names)}
    return made[names[0]], made[names[1]]


def make_fixer(name: str, log: SceneData, feed: Feed, config: FuseConfig, workdir: Path) -> Fixer:
    """Return the generator called `name`; `self_fit` is fitted on the log first, or restored."""
    if name != "self_fit":
        return trained_fixer(name, config)
    settings = config.self_fit if config.eig.guide else registry.unguided_fit(config.self_fit)
    blank = registry.build("self_fit", config=settings, key=key_of(config, _FIT))

    def fitted() -> Any:
        triples = thin_triples(log, feed, blank, config, workdir / "thin")
        with progress(settings.steps, "fitting the fixer") as bar:
            fixer, history = registry.fit_self(key_of(config, _FIT), triples, settings, bar)
        (workdir / "fixer").mkdir(parents=True, exist_ok=True)
        (workdir / "fixer" / "history.json").write_text(json.dumps(history, indent=2))
        return fixer.params

    return blank.replace(params=restore_or(workdir / "fixer" / "params", fitted, lambda: blank.params))


def trained_fixer(name: str, config: FuseConfig) -> Fixer:
    """Return a generator that ships, told EIG or not as the config says; "none" has nothing to be told."""
    fixer = registry.build(name)
    return fixer if config.eig.guide or name == "none" else registry.unguided(fixer)


def make_event(feed: Feed, fixers: tuple[Fixer, Fixer], config: FuseConfig) -> Callable[[Run, int, Recipe], Run]:
    """Return the hook that makes the pseudo-views of a fix event, with the first fixer or, in the end, the second."""

    def event(run: Run, step: int, recipe: Recipe) -> Run:
        if config.fixer == "none":
            return run
        scene, fixer = run.state.scene, fixers[not is_expanding(step, config.schedule)]
        degree = min(step // recipe.recon.sh_every, recipe.recon.sh_degree)
        known = learn(scene, feed, recipe.settings, degree, config.eig.priors)
        shift = shift_at(step, config.schedule)
        pool = add_pseudo_views(
            jax.random.fold_in(key_of(config, _FIX), step),
            run.pool,
            scene,
            known,
            feed,
            fixer,
            [side * shift for side in config.schedule.sides],
            recipe.settings,
            degree,
            config.eig,
            config.event_stride,
        )
        return run.replace(pool=pool)

    return event
