"""Measure how long a reconstruction takes from the start of the process: first step, compilation, training, quality.

python -m experiments.benchmarks.time_to_quality --workdir=W --config=experiments/configs/real_log.py \
    --config.data.source=LOG --config.steps=7000 --config.recon.budget=200000
JAX_ENABLE_COMPILATION_CACHE=false python -m experiments.benchmarks.time_to_quality --workdir=W2 ...   # a cold start

Trains as `reconstruct` does, with its checkpoints and logs, and scores held-out views at --points equal parts of the
training. Scoring is left out of all times. Prints, and writes to W/time_to_quality.json:

- the seconds from the start of the process to the first finished step, and to the end of training;
- steps per second, from the first finished step to the end;
- PSNR (dB) of held-out views (of recorded ones, if the log holds none out) by step and seconds;
- the programs that were compiled: how often, how many were read from the cache, how many while training went on, and
  the seconds of all and of the longest. Those of scoring are listed apart.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments.cli import command_line
from ff_jax.data.loader import load_image
from ff_jax.data.open import open_log
from ff_jax.data.scene_data import SceneData
from ff_jax.evaluation.renderers import plain_renderer
from ff_jax.evaluation.shifted_views import Target, targets
from ff_jax.export.tables import Table, as_text
from ff_jax.metrics.image import psnr
from ff_jax.pipeline.config import FuseConfig, from_dict
from ff_jax.pipeline.fuse import check_workdir, checked_recording, write_facts
from ff_jax.pipeline.initialize import initialize
from ff_jax.pipeline.phases import Phase, run_phase
from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.runtime.compile_log import Compilation, CompileLog, by_program
from ff_jax.runtime.run_lock import lock_run
from ff_jax.runtime.step_queue import LIMIT
from ff_jax.scene import SceneModel
from ff_jax.train.batches import TrainBatches
from ff_jax.train.loop import Hooks, TrainPlan
from ff_jax.train.state import LoopState

_CONFIG = command_line.config_flag("experiments/configs/fuse.py")
_WORKDIR = command_line.workdir_flag("Folder of the run and of time_to_quality.json.")
_POINTS = flags.DEFINE_integer("points", 4, "Number of times that views are scored.", lower_bound=1, upper_bound=1000)
_VIEWS = flags.DEFINE_integer("views", 8, "At most this many views are scored.", lower_bound=1, upper_bound=10_000)


def process_start() -> float:
    """Return the time at which this process began, as `time.time` counts; now, where the system does not tell."""
    stat = Path("/proc/self/stat")
    if not stat.is_file():
        return time.time()
    ticks = float(stat.read_text().rpartition(")")[2].split()[19])  # field 22: since the system was started
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))


class Stopwatch:
    """Seconds since the start of the process, without the time that `pause` takes."""

    def __init__(self, start: float):
        """Start at a time of `time.time`."""
        self._start, self.paused = start, 0.0

    def read(self) -> float:
        """Return the seconds until now."""
        return time.time() - self._start - self.paused

    def pause(self, work: Callable[[], Any]) -> Any:
        """Call `work` while the watch stands still; return its result."""
        begin = time.time()
        result = work()
        self.paused += time.time() - begin
        return result


def held_out(log: SceneData, count: int) -> list[Target]:
    """Choose views with a true image: test frames of the log, or recorded frames if it has none."""
    test = [target for target in targets(log, (), count) if target.has_truth]
    return test or [target for target in targets(log, (0.0,), count) if target.has_truth]


def mean_psnr(model: SceneModel, views: list[Target]) -> float:
    """Score a scene: mean PSNR over views, dB."""
    render = plain_renderer(model, [target.view for target in views])
    return float(np.mean([psnr(render(target).rgb, load_image(target.frame)) for target in views]))


class Measurement:
    """The figures of one training, taken by its hooks."""

    def __init__(self, watch: Stopwatch, views: list[Target], programs: CompileLog):
        """Start with no figure."""
        self.watch, self.views, self.programs = watch, views, programs
        self.first_step, self.scores = 0.0, list[dict[str, float]]()
        self.of_scoring = list[Compilation]()

    def tick(self, step: int) -> None:
        """Note the time at which the first step is computed: the loop runs at most `LIMIT` steps ahead."""
        if step == LIMIT + 1:
            self.first_step = self.watch.read()

    def save(self, step: int, state: LoopState, plan: TrainPlan) -> None:
        """Score the scene of a checkpoint."""
        if step:
            self.watch.pause(lambda: self._score(step, plan.model(state.train)))

    def _score(self, step: int, model: SceneModel) -> None:
        seconds, before = self.watch.read(), len(self.programs.compilations)
        self.scores.append({"step": step, "seconds": seconds, "psnr": mean_psnr(model, self.views)})
        self.of_scoring += [one for one in self.programs.compilations[before:] if not one.is_ahead]


def measure(config: FuseConfig, log: SceneData, workdir: Path, programs: CompileLog, watch: Stopwatch) -> Measurement:
    """Train on recorded views and take the figures."""
    recording = checked_recording(log, config)
    with lock_run(workdir):
        check_workdir(workdir, config, log, False)
        write_facts(workdir, config, log)
        batches = TrainBatches(recording)
        state, plan = initialize(recording, config, pseudo_views=0, steps=config.steps)
        views = watch.pause(lambda: held_out(log, _VIEWS.value))
        measurement = Measurement(watch, views, programs)
        hooks = Hooks(tick=measurement.tick, save=measurement.save)
        run_phase(Phase(workdir / "recon", "reconstruction", config.steps, hooks=hooks), state, plan, batches, config)
    return measurement


def figures(measurement: Measurement, steps: int) -> dict[str, Any]:
    """Collect the figures of a training of `steps` steps."""
    last, of_scoring = measurement.scores[-1]["seconds"], set(measurement.of_scoring)
    of_training = [one for one in measurement.programs.compilations if one not in of_scoring]
    return {
        "first_step_seconds": measurement.first_step,
        "training_seconds": last,
        "steps_per_second": (steps - 1) / max(last - measurement.first_step, 1e-9),
        "scores": measurement.scores,
        "programs": [row._asdict() for row in by_program(of_training)],
        "programs_of_scoring": [row._asdict() for row in by_program(of_scoring)],
    }


def report(values: dict[str, Any]) -> str:
    """Write the figures as text."""
    scores = [[f"{s['step']:.0f}", f"{s['seconds']:.1f}", f"{s['psnr']:.2f}"] for s in values["scores"]]
    programs = [
        [row["program"], *(str(row[name]) for name in ("count", "num_cached", "num_ahead"))]
        + [f"{row[name]:.2f}" for name in ("seconds", "longest")]
        for row in values["programs"]
    ]
    total = sum(row["seconds"] for row in values["programs"])
    count = sum(row["count"] for row in values["programs"])
    head = [
        f"first step finished after {values['first_step_seconds']:.1f} s",
        f"training finished after {values['training_seconds']:.1f} s, {values['steps_per_second']:.1f} steps/s",
        f"{count} programs compiled or read, {total:.1f} s in all",
    ]
    columns = ["program", "times", "from cache", "ahead", "seconds", "longest"]
    tables = [
        Table("Held-out views", ["step", "seconds", "PSNR^"], scores),
        Table("Programs", columns, programs),
    ]
    return "\n".join(head + [as_text(table) for table in tables])


def main(_: list[str]) -> None:
    """Measure, print and write the figures."""
    programs, watch = CompileLog().install(), Stopwatch(process_start())
    values = _CONFIG.value.to_dict()
    values["schedule"]["start"] = min(values["schedule"]["start"], values["steps"])  # nothing is fused
    config = command_line.with_log_path(from_dict(FuseConfig, values))
    each = -(-config.steps // _POINTS.value)
    save_every = max(-(-each // config.check_every), 1) * config.check_every
    config = command_line.reconstruction_config(config, config.steps, save_every=save_every)
    log, workdir = open_log(config.data, config.evaluate.shifts), Path(_WORKDIR.value)
    measurement = measure(config, log, workdir, programs, watch)
    values = figures(measurement, config.steps)
    with atomic_write(workdir / "time_to_quality.json") as temporary:
        temporary.write_text(json.dumps(values, indent=1))
    print(report(values))


if __name__ == "__main__":
    command_line.run(main)
