"""Many runs of the main job: rows, grids or random draws of settings, each with several seeds, and their table.

python -m experiments.sweeps.run --config=experiments/configs/sweeps/paper_ablation.py --workdir=runs/sweep --dry_run
python -m experiments.sweeps.run --config=experiments/configs/sweeps/paper_ablation.py --workdir=runs/sweep --workers=2
python -m experiments.sweeps.run --config=experiments/configs/sweeps/waymo.py --workdir=runs/waymo --cluster=slurm \
    --cluster_option=slurm_partition=gpu --cluster_option=gpus_per_node=1 --cluster_option=timeout_min=600

The same command again goes on where the sweep was stopped. Finished points are never repeated.
"""

import dataclasses
import inspect
import runpy
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.cli import command_line
from experiments.sweeps import launch, slurm
from experiments.sweeps.definition import Sweep, command_flags, points
from experiments.sweeps.report import Result, best_table, cost, summary_table, write_summary
from ff_jax.export.tables import as_text
from ff_jax.runtime.run_log import progress

_CONFIG = flags.DEFINE_string("config", None, "File with `get_sweep`; a colon parts an argument.", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the sweep, one below it per point.", required=True)
_DRY = flags.DEFINE_bool("dry_run", False, "Print what would run and what is finished; run nothing.")
_WORKERS = flags.DEFINE_integer("workers", 1, "Points that run at a time; they share the GPUs out.")
_SEEDS = flags.DEFINE_list("seeds", None, "Seeds instead of the sweep's.")
_SET = flags.DEFINE_multi_string("set", [], "Setting of all points, such as steps=100; the points' own go first.")
_CLUSTER = flags.DEFINE_enum("cluster", "", ["", "slurm", "local", "debug"], "Run through submitit.")
_OPTION = flags.DEFINE_multi_string("cluster_option", [], "Option of submitit, such as timeout_min=600.")


def main(_: list[str]) -> None:
    """Run what is not finished, write the summary and print it."""
    sweep, workdir = _sweep(), Path(_WORKDIR.value)
    if _WORKERS.value < 1:
        raise ValueError(f"--workers={_WORKERS.value} must be at least 1.")
    todo = points(sweep)
    results = [launch.result_of(sweep, point, workdir) for point in todo]
    if _DRY.value:
        print(_plan(sweep, results))
        return
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))  # ends the points as well
    open_points = [result.point for result in results if result.state != "finished"]
    jobs = [launch.job_of(sweep, point, workdir) for point in open_points]
    done = len(todo) - len(jobs)
    try:
        for number in progress(_run(jobs, workdir), sweep.title, start=done, total=len(todo), every=0):
            _report(launch.result_of(sweep, open_points[number], workdir), workdir)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on.")
    results = [launch.result_of(sweep, point, workdir) for point in todo]
    write_summary(workdir, sweep, results)
    print("\n\n".join(as_text(table(sweep, results)) for table in (summary_table, best_table)))
    print(f"\n{cost(results)}; {workdir}/summary.md, .tex, .json, .png and points.csv")
    if failed := [result for result in results if result.state != "finished"]:
        raise ValueError(f"{len(failed)} of {len(todo)} points failed; the same command tries them again.")


def _sweep() -> Sweep:
    """Return the sweep of --config with what other flags change.

    Raises:
        ValueError: the file has no sweep, or does not take the argument.
    """
    path, _, argument = _CONFIG.value.partition(":")
    make = runpy.run_path(path).get("get_sweep")
    if make is None:
        raise ValueError(f"--config={path} has no function get_sweep: see experiments/configs/sweeps.")
    try:
        inspect.signature(make).bind(*filter(None, [argument]))
    except TypeError as error:
        raise ValueError(f"--config={_CONFIG.value}: {error}.") from None
    sweep = make(*filter(None, [argument]))
    seeds = sweep.seeds if _SEEDS.value is None else command_line.numbers(_SEEDS, int)
    return dataclasses.replace(sweep, seeds=seeds, base={**sweep.base, **_pairs(_SET)})


def _pairs(flag: flags.FlagHolder) -> dict[str, Any]:
    """Return NAME=VALUE entries; whole numbers are numbers."""
    pairs = {}
    for entry in flag.value:
        name, equal, value = entry.partition("=")
        if not equal:
            raise ValueError(f"--{flag.name}={entry} is wrong: write --{flag.name}=NAME=VALUE.")
        pairs[name] = int(value) if value.isdecimal() else value
    return pairs


def _run(jobs: Sequence[launch.Job], workdir: Path) -> Iterator[int]:
    if not jobs:
        return iter(())
    if _CLUSTER.value:
        folder = workdir.absolute() / "submitit"
        return slurm.run_on_cluster(jobs, _WORKERS.value, folder, _CLUSTER.value, _pairs(_OPTION))
    return launch.run_here(jobs, _WORKERS.value, launch.visible_gpus())


def _report(result: Result, workdir: Path) -> None:
    if result.state == "failed":
        print(f"failed: {result.point.name}: {result.error} (see {workdir / result.point.name}/output.txt)", flush=True)


def _plan(sweep: Sweep, results: Sequence[Result]) -> str:
    """Return one line per point: its state, its folder and the flags that other points do not share."""
    shared = set.intersection(*(set(command_flags(result.point)) for result in results))
    own = lambda point: " ".join(flag for flag in command_flags(point) if flag not in shared)
    width = max(len(result.point.name) for result in results)
    lines = [f"{result.state:>8}  {result.point.name:<{width}}  {own(result.point)}" for result in results]
    lines += [f" missing  {name}: {reason}" for name, reason in sweep.missing.items()]
    common_flags = [flag for flag in command_flags(results[0].point) if flag in shared]
    after = [f"then     python -m {line}" for line in sweep.after]
    first = f"python -m {sweep.module} --workdir=... --resume {' '.join(common_flags)}"
    return "\n".join([first, *after, *lines, cost(results)])


if __name__ == "__main__":
    command_line.run(main)
