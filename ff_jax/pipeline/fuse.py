"""The main job as one function: reconstruct -> [render + EIG -> fix -> distill, d += 1 m]* -> evaluate.

workdir/subsampled, fixer  the reconstruction from a part of the frames, and `self_fit` trained on it (`pairs.stops`:
                           workdir/under-trained, the first steps of that from all frames)
workdir/recon              the reconstruction up to the first fix event
workdir/baseline           the same, trained on recorded views only to the last step: the comparison of the fused scene
workdir/fused              the progressive loop
workdir/results            metrics.json, index.html, pictures, fly-through (MP4), scene.ply
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from ff_jax.data.fingerprint import changed_part, fingerprint
from ff_jax.data.open import open_log
from ff_jax.data.recording import Recording
from ff_jax.data.scene_data import SceneData
from ff_jax.pipeline.config import FuseConfig, from_dict, to_dict
from ff_jax.pipeline.fixers import check_fixers, fix_hook, fixers_for, report_skill
from ff_jax.pipeline.initialize import initialize, make_recording
from ff_jax.pipeline.loaded_scene import check_overlap, load_scene, warn_if_unlike
from ff_jax.pipeline.phases import Phase, run_phase
from ff_jax.pipeline.results import write_results
from ff_jax.pipeline.run import Run
from ff_jax.pipeline.scene_file import with_scene_file
from ff_jax.pipeline.signals import check_signals
from ff_jax.runtime import run_facts
from ff_jax.runtime.run_lock import lock_run
from ff_jax.runtime.run_log import peak_memory
from ff_jax.runtime.stop import StopRequest
from ff_jax.runtime.untrusted_files import UnreadableFileError, read_json_object, reason
from ff_jax.train.batches import TrainBatches
from ff_jax.train.loop import Event, TrainPlan, no_event
from ff_jax.train.shift_schedule import shifts_until
from ff_jax.train.state import LoopState

RECONSTRUCTION, FUSED = "Reconstruction only", "Fused"  # names of the versions of a scene


def fuse(
    config: FuseConfig,
    log: SceneData,
    workdir: Path | str,
    *,
    resume: bool = False,
    request: StopRequest | None = None,
) -> Run:
    """Run the main job in `workdir`; return the fused scene with its metrics.

    Args:
        config: the settings.
        log: the driving log; its frames of split "train" are recorded views, those of "test" ground truth.
        workdir: folder of the run.
        resume: continue the run in `workdir`; every phase continues from its last complete checkpoint.
        request: ends the run early.

    Raises:
        StoppedError: the run was asked to end early; its last step is saved.
        ValueError: `workdir` holds a run and `resume` is off, or a run with other settings, or one that is running.
    """
    started, workdir, request = time.time(), Path(workdir), request or StopRequest()
    check_fixers(config)
    config = with_scene_file(config)
    recording = checked_recording(log, config)
    check_capacity(config, len(recording.frames))
    check_signals(config.eig.signals, recording, config.schedule)
    with lock_run(workdir):
        check_workdir(workdir, config, log, resume)
        batches = TrainBatches(recording)
        facts = write_facts(workdir, config, log)
        fixers = fixers_for(batches, config, workdir, request)
        facts |= {"fixer_skill": report_skill(fixers)}
        versions = run_phases(config, batches, workdir, fix_hook(batches, fixers, config), request)
        return _with_results(versions, workdir, facts, started)


def reconstruct(
    config: FuseConfig,
    log: SceneData,
    workdir: Path | str,
    *,
    resume: bool = False,
    request: StopRequest | None = None,
) -> Run:
    """Reconstruct from recorded views only, for all of `config.steps`; arguments and errors as in `fuse`."""
    started, workdir, request = time.time(), Path(workdir), request or StopRequest()
    config = with_scene_file(config)
    recording = checked_recording(log, config)
    with lock_run(workdir):
        check_workdir(workdir, config, log, resume)
        batches = TrainBatches(recording)
        facts = write_facts(workdir, config, log)
        versions = {RECONSTRUCTION: _reconstruct(config, batches, workdir, request)}
        return _with_results(versions, workdir, facts, started)


def _with_results(versions: dict[str, Run], workdir: Path, facts: dict[str, Any], started: float) -> Run:
    """Write the results of a run; return its last version with the metrics."""
    facts |= {"seconds": round(time.time() - started, 1)} | peak_memory()
    logs = [workdir / name / "metrics.jsonl" for name in ("recon", "fused")]
    metrics = write_results(workdir / "results", versions, facts, logs)
    return dataclasses.replace(list(versions.values())[-1], metrics=metrics)


def load_run(workdir: Path | str, log: SceneData | None = None) -> Run:
    """Load the last version of a finished run of `fuse` or `reconstruct`, with its metrics.

    Args:
        workdir: folder of the run.
        log: its driving log; None opens the one that its settings name.

    Raises:
        ValueError: there is no finished run in `workdir`.
    """
    workdir = Path(workdir)
    config = read_config(workdir)
    log = open_log(config.data, config.evaluate.shifts) if log is None else log
    run = list(load_versions(config, log, workdir).values())[-1]
    return dataclasses.replace(run, metrics=read_json_object(workdir / "results" / "metrics.json"))


def load_versions(config: FuseConfig, log: SceneData, workdir: Path) -> dict[str, Run]:
    """Load all versions of a finished run of `fuse` or `reconstruct`, without training.

    Raises:
        ValueError: the run in `workdir` is not finished.
    """
    metrics = workdir / "results" / "metrics.json"
    if not metrics.is_file():
        raise ValueError(f"{workdir} holds no finished run: finish it with `fuse --resume` first.")
    batches = TrainBatches(make_recording(log, config))
    if FUSED in read_json_object(metrics).get("shifts", {}):
        return run_phases(config, batches, workdir, no_event, StopRequest())
    return {RECONSTRUCTION: _reconstruct(config, batches, workdir, StopRequest())}


def choose_version(versions: dict[str, Run], name: str | None) -> Run:
    """Choose a version of a run by its name; None chooses the last one.

    Raises:
        ValueError: the run has no such version.
    """
    if name is not None and name not in versions:
        raise ValueError(f"the run has no version {name!r}; it has {', '.join(versions)}.")
    return list(versions.values())[-1] if name is None else versions[name]


def _reconstruct(config: FuseConfig, batches: TrainBatches, workdir: Path, request: StopRequest) -> Run:
    """Train on recorded views to the last step."""
    phase = Phase(workdir / "recon", "reconstruction", config.steps, request=request)
    state, plan = run_phase(phase, *_start(phase, batches, config, 0), batches, config)
    return Run(config, batches, plan, state, workdir=workdir)


def read_config(workdir: Path) -> FuseConfig:
    """Read the settings that a run was started with.

    Raises:
        ValueError: `workdir` holds no run, or one of a revision of this program with other settings.
    """
    written = workdir / "config.json"
    if not written.is_file():
        raise ValueError(f"{workdir} holds no run: {written.name} is missing.")
    try:
        return from_dict(FuseConfig, read_json_object(written))
    except UnreadableFileError:
        raise
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{written} does not fit this revision of the program; use the one that env.json beside it names "
            f"({reason(error)})"
        ) from error


def run_phases(
    config: FuseConfig, batches: TrainBatches, workdir: Path, event: Event, request: StopRequest
) -> dict[str, Run]:
    """Reconstruct up to the first fix event; from there train one scene without and one with pseudo-views.

    The scene without them is left out if `config.use_baseline` is off.
    """
    recon = Phase(workdir / "recon", "reconstruction", config.schedule.start, request=request)
    state, plan = _start(recon, batches, config, config.pseudo_view_capacity)
    base, plan = run_phase(recon, state, plan, batches, config)
    # Training donates its input, so each of the two branches gets a copy.
    copy = jax.jit(lambda state: jax.tree.map(jnp.copy, state))
    versions = {}
    if config.use_baseline:
        phase = Phase(workdir / "baseline", "recorded views only", config.steps, request=request)
        baseline, baseline_plan = run_phase(phase, copy(base), plan, batches, config)
        versions[RECONSTRUCTION] = Run(config, batches, baseline_plan, baseline, workdir=workdir)
    plan = dataclasses.replace(plan, schedule=config.schedule, novel_probability=config.novel_probability)
    phase = Phase(workdir / "fused", "fusing", config.steps, event, request)
    fused, fused_plan = run_phase(phase, copy(base), plan, batches, config)
    return versions | {FUSED: Run(config, batches, fused_plan, fused, workdir=workdir)}


def _start(phase: Phase, batches: TrainBatches, config: FuseConfig, pseudo_views: int) -> tuple[LoopState, TrainPlan]:
    """Make the state that a first phase starts from, or only its shapes if it has a checkpoint."""
    is_begun = phase.is_begun
    state, plan = initialize(
        batches.recording, config, pseudo_views=pseudo_views, steps=config.steps, shapes_only=is_begun
    )
    if config.init.scene and not is_begun:
        warn_if_unlike(plan.model(state.train), batches, config.init.scene)
    return state, plan


def check_workdir(workdir: Path, config: FuseConfig, log: SceneData, resume: bool) -> None:
    """Check that `workdir` is free, or holds a run of the same settings and the same log that is to be resumed.

    Raises:
        ValueError: it does not, or a file that tells so is damaged.
    """
    run_facts.check_settings(workdir, to_dict(config), resume=resume)
    if (stored := workdir / run_facts.LOG).exists():
        changed = changed_part(read_json_object(stored), fingerprint(log))
        if changed:
            raise ValueError(
                f"{workdir} was started on another log ({changed} differ): use the same log, or another folder."
            )


def write_facts(workdir: Path, config: FuseConfig, log: SceneData) -> dict[str, Any]:
    """Write the settings, the log's fingerprint and the environment; return the latter."""
    return run_facts.write_run_facts(workdir, to_dict(config), fingerprint(log))


def checked_recording(log: SceneData, config: FuseConfig) -> Recording:
    """Make the recording of a job that trains; nothing is written before log, settings and scene are checked."""
    if config.steps < 1 and not config.init.scene:
        raise ValueError(f"invalid steps={config.steps}: expected at least 1, or nothing is trained.")
    recording = make_recording(log, config)
    if config.init.scene:
        check_overlap(load_scene(config, log), recording.frames)
    return recording


def check_capacity(config: FuseConfig, frames: int) -> None:
    """Check that the pseudo-views of one fix event, or of all events if they are kept, fit into the buffer."""
    schedule, capacity = config.schedule, config.pseudo_view_capacity
    count, events = len(range(0, frames, config.event_stride)) * len(schedule.sides), "one fix event makes"
    if schedule.update == "keep":
        count, events = count * len(shifts_until(config.steps, schedule)), "all fix events together make"
    if count > capacity and config.fixer != "none":
        raise ValueError(
            f"{events} {count} pseudo-views, more than pseudo_view_capacity={capacity}: "
            "raise pseudo_view_capacity or event_stride."
        )
