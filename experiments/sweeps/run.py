"""Run the main job many times, with rows, grids or random draws of settings and several seeds, and tabulate it.

python -m experiments.sweeps.run --config=experiments/configs/sweeps/paper_ablation.py --workdir=runs/sweep --dry_run
python -m experiments.sweeps.run --config=experiments/configs/sweeps/paper_ablation.py --workdir=runs/sweep --workers=2
python -m experiments.sweeps.run --config=experiments/configs/sweeps/waymo.py --workdir=runs/waymo --cluster=slurm \
    --cluster_option=slurm_partition=gpu --cluster_option=gpus_per_node=1 --cluster_option=timeout_min=600

The same command resumes a stopped sweep. Finished runs are not repeated.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.cli import command_line
from experiments.cli.user_files import call_function
from experiments.sweeps import launch, slurm
from experiments.sweeps.definition import RunSpec, Sweep, command_flags, run_specs
from experiments.sweeps.report import RunResult, all_tables, count_states, write_summary
from experiments.sweeps.settings import check_settings
from ff_jax.export.tables import as_text
from ff_jax.runtime.progress import progress

_CONFIG = flags.DEFINE_string("config", None, "File with `get_sweep`; its argument follows a colon.", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the sweep; each run has a folder in it.", required=True)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the commands and the states of the runs; run nothing.")
_WORKERS = flags.DEFINE_integer(
    "workers", 1, "Number of runs at the same time; they share the GPUs.", lower_bound=1, upper_bound=1_024
)
_SEEDS = flags.DEFINE_list("seeds", None, "Seeds instead of the sweep's.")
_ROWS = flags.DEFINE_list("rows", None, "Rows to run and to tabulate, by name (quote a comma: '\"a, b\"').")
_SET = flags.DEFINE_multi_string("set", [], "Setting of all runs, such as steps=100; a run's own settings win.")
_CLUSTER = flags.DEFINE_enum("cluster", "", ["", "slurm", "local", "debug"], "Run through submitit.")
_OPTION = flags.DEFINE_multi_string("cluster_option", [], "Option of submitit, such as timeout_min=600.")


def main(_: list[str]) -> None:
    """Run what is not finished, write the summary and print it."""
    sweep, workdir = _read_sweep(), Path(_WORKDIR.value)
    specs = run_specs(sweep)
    check_settings(specs, sweep.module)
    launch.check_together(launch.together_jobs(sweep, specs, workdir))
    results = [launch.read_result(sweep, spec, workdir) for spec in specs]
    if _DRY_RUN.value:
        print(_plan(sweep, results))
        return
    _run(sweep, [result.spec for result in results if result.state != "finished"], len(specs), workdir)
    results = [launch.read_result(sweep, spec, workdir) for spec in specs]
    unfinished = {result.spec.seed for result in results if result.state != "finished"}
    try:
        _run_together(sweep, [spec for spec in specs if spec.seed not in unfinished], workdir)
    finally:
        results = [launch.read_result(sweep, spec, workdir) for spec in specs]
        write_summary(workdir, sweep, results)
    print("\n\n".join(as_text(table) for table in all_tables(sweep, results) if table.rows))
    print(f"\n{count_states(results)}; {workdir}/summary.md, .tex, .json, .png and runs.csv")
    if num_failed := sum(result.state != "finished" for result in results):
        raise ValueError(f"{num_failed} of {len(specs)} runs failed; run the same command again to repeat them.")


def _read_sweep() -> Sweep:
    """Read the sweep of --config and apply --seeds and --set.

    Raises:
        ValueError: the file has no sweep, or its function does not take the argument.
    """
    path, _, argument = _CONFIG.value.partition(":")
    sweep = call_function(path, "get_sweep", *filter(None, [argument]))
    if not isinstance(sweep, Sweep):
        raise ValueError(f"invalid --config={path}: get_sweep returns no Sweep: see experiments/configs/sweeps.")
    seeds = sweep.seeds if _SEEDS.value is None else command_line.parse_numbers(_SEEDS, int)
    rows = dict(sweep.rows) if _ROWS.value is None else _chosen_rows(sweep, _ROWS.value)
    return dataclasses.replace(sweep, rows=rows, seeds=seeds, base={**sweep.base, **_pairs(_SET)})


def _chosen_rows(sweep: Sweep, chosen: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Select the rows of --rows.

    Raises:
        ValueError: the sweep has no such row, or lacks the one that differences refer to.
    """
    names = ", ".join(map(repr, sweep.rows)) or "no row: this sweep has none"
    for name in chosen or [""]:
        if name not in sweep.rows:
            raise ValueError(f"invalid --rows={name}: expected some of {names}.")
    if sweep.against and sweep.against not in chosen:
        raise ValueError(f"invalid --rows={','.join(chosen)}: add {sweep.against}; differences refer to it.")
    return {name: row for name, row in sweep.rows.items() if name in chosen}


def _pairs(flag: flags.FlagHolder) -> dict[str, Any]:
    """Parse NAME=VALUE entries; values of digits become integers."""
    pairs = {}
    for entry in flag.value:
        name, equal, value = entry.partition("=")
        if not equal:
            raise ValueError(f"invalid --{flag.name}={entry}: expected --{flag.name}=NAME=VALUE.")
        pairs[name] = int(value) if value.isdecimal() else value
    return pairs


def _run(sweep: Sweep, specs: Sequence[RunSpec], num_runs: int, workdir: Path) -> None:
    """Run the runs of a sweep that are not finished, and print failures as they happen."""
    jobs = [launch.make_job(sweep, spec, workdir) for spec in specs]
    ends = _launch(jobs, workdir) if jobs else ()
    for index in progress(ends, sweep.title, start=num_runs - len(jobs), total=num_runs, every=0):
        result = launch.read_result(sweep, specs[index], workdir)
        if result.state == "failed":
            print(f"failed: {result.spec.name}: {result.error} (see {jobs[index].folder}/output.txt)", flush=True)


def _run_together(sweep: Sweep, specs: Sequence[RunSpec], workdir: Path) -> None:
    """Run what follows all runs of each seed, where it is not finished.

    Raises:
        ValueError: one of these commands failed.
    """
    every = launch.together_jobs(sweep, specs, workdir)
    jobs = [job for job in every if not launch.is_done(job)]
    if not jobs:
        return
    ends = _launch(jobs, workdir)
    for _ in progress(ends, "all rows together", start=len(every) - len(jobs), total=len(every), every=0):
        pass
    failed = [job.folder / "output.txt" for job in jobs if not launch.is_done(job)]
    if failed:
        raise ValueError(f"{launch.last_message(failed[0])} (see {failed[0]}); run the same command again.")


def _launch(jobs: Sequence[launch.Job], workdir: Path) -> Iterator[int]:
    if _CLUSTER.value:
        folder = workdir.absolute() / "submitit"
        return slurm.run_on_cluster(jobs, _WORKERS.value, folder, _CLUSTER.value, _pairs(_OPTION))
    return launch.run_locally(jobs, min(_WORKERS.value, len(jobs)), launch.visible_gpus())


def _plan(sweep: Sweep, results: Sequence[RunResult]) -> str:
    """Format one line per run: its state, its folder and the flags that differ from other runs."""
    flags_of = [command_flags(result.spec) for result in results]
    common = set.intersection(*map(set, flags_of))
    width = max(len(result.spec.name) for result in results)
    first = " ".join(flag for flag in flags_of[0] if flag in common)
    lines = [f"python -m {sweep.module} --workdir=... --resume {first}"]
    lines += [f"then     python -m {line}" for line in sweep.after]
    for result, own in zip(results, flags_of, strict=True):
        differences = " ".join(flag for flag in own if flag not in common)
        lines.append(f"{result.state:>8}  {result.spec.name:<{width}}  {differences}")
    lines += [f"       -  {name}: {reason}" for name, reason in sweep.unavailable.items()]
    lines += [f"together python -m {line}" for line in sweep.together]
    if sweep.minutes:
        left = [result.spec.label for result in results if result.state != "finished"]
        total = sum(sweep.minutes.get(label, 0.0) for label in left)
        lines += [f"  {minutes:6.1f} GPU minutes a run  {label}" for label, minutes in sweep.minutes.items()]
        lines.append(f"about {total:.0f} GPU minutes for {len(left)} runs, as the sweep estimates them")
    return "\n".join([*lines, count_states(results)])


if __name__ == "__main__":
    command_line.run(main)
