"""Write the report of a sweep: tables, a CSV file of all runs, and a chart of every metric with its seeds."""

import csv
import io
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from experiments.sweeps.definition import CONFIG, RunSpec, SeedStats, Sweep, is_higher_better, read_metrics, summarize
from ff_jax.export.tables import Table, as_latex, as_markdown, column_title
from ff_jax.metrics.confidence import paired_interval
from ff_jax.runtime.atomic_files import atomic_write

_NONE = "\N{EN DASH}"
_AVERAGE = "all rows"


class RunResult(NamedTuple):
    """State and metrics of one run."""

    spec: RunSpec
    state: str  # "finished", "failed", "started" or "new"
    files: Mapping[str, Any]  # content of its JSON files by their path in its folder
    seconds: float  # duration of its commands
    error: str = ""  # error message of a failed run


def seed_stats(sweep: Sweep, results: Sequence[RunResult]) -> dict[str, dict[str, SeedStats]]:
    """Compute the statistics of every metric of every label over the finished seeds."""
    finished = [result for result in results if result.state == "finished"]
    groups = {label: [r for r in finished if r.spec.label == label] for label in _labels(results)}
    if sweep.average:
        groups[_AVERAGE] = finished
    return {
        label: {
            column: summarize([read_metrics(r.files, path, r.spec) for r in group], higher=is_higher_better(column))
            for column, path in sweep.metrics.items()
        }
        for label, group in groups.items()
    }


def summary_table(sweep: Sweep, results: Sequence[RunResult]) -> Table:
    """Tabulate means and standard deviations over seeds; rows that cannot be run stay empty."""
    empty = (_NONE,) * len(sweep.metrics)
    rows = [
        (label, str(_count_finished(results, label)), *(_cell(stats, column) for column, stats in values.items()))
        for label, values in seed_stats(sweep, results).items()
    ]
    rows += [(f"{name} ({reason})", "0", *empty) for name, reason in sweep.unavailable.items()]
    return Table(sweep.title, ("", "runs", *sweep.metrics), rows)


def paired_table(sweep: Sweep, results: Sequence[RunResult]) -> Table:
    """Tabulate the difference of each row to the one above it, or of all to `sweep.against`, on the same seeds.

    It is the mean over the seeds that both have finished.

    Intervals have a level of 95 % (`metrics.confidence.paired_interval`); fewer than three pairs have none.
    """
    labels = _labels(results)
    rows = []
    against = [(sweep.against, label) for label in labels if label != sweep.against]
    for above, label in against if sweep.against else itertools.pairwise(labels):
        pairs = {column: _pairs(results, path, above, label) for column, path in sweep.metrics.items()}
        count = max((len(before) for before, _ in pairs.values()), default=0)
        rows.append((label, str(count), *(_difference(*pair, column) for column, pair in pairs.items())))
    title = f"{sweep.title}: difference to {sweep.against or 'the row above'}, with 95 % intervals"
    return Table(title, ("", "pairs", *sweep.metrics), rows if sweep.paired else [])


def _pairs(
    results: Sequence[RunResult], path: str | tuple[str, ...], above: str, label: str
) -> tuple[list[float], list[float]]:
    """List the values of a metric of two labels on the seeds for which both have one."""
    values: dict[str, dict[int, float]] = {above: {}, label: {}}
    for result in results:
        if result.spec.label in values and result.state == "finished":
            values[result.spec.label][result.spec.seed] = read_metrics(result.files, path, result.spec)
    seeds = [s for s, v in values[above].items() if math.isfinite(v) and math.isfinite(values[label].get(s, math.nan))]
    return [values[above][seed] for seed in seeds], [values[label][seed] for seed in seeds]


def _difference(before: Sequence[float], after: Sequence[float], column: str) -> str:
    if not before:
        return _NONE
    mean, low, high, _ = paired_interval(before, after)
    text = _signed(mean, column)
    return text if math.isnan(low) else f"{text} ({_signed(low, column)} to {_signed(high, column)})"


def best_table(sweep: Sweep, results: Sequence[RunResult]) -> Table:
    """Tabulate the best run of every metric."""
    rows = []
    for column, path in sweep.metrics.items():
        sign = 1 if is_higher_better(column) else -1
        values = [(sign * read_metrics(r.files, path, r.spec), r.spec) for r in results if r.state == "finished"]
        if values := [(value, spec) for value, spec in values if math.isfinite(value)]:
            value, spec = max(values, key=lambda pair: pair[0])
            rows.append((column_title(column), _number(sign * value, column), spec.label, str(spec.seed)))
    return Table(f"{sweep.title}: best runs", ("metric", "value", "run", "seed"), rows)


def all_tables(sweep: Sweep, results: Sequence[RunResult]) -> list[Table]:
    """Make the tables of a sweep; some may have no row."""
    return [summary_table(sweep, results), paired_table(sweep, results), best_table(sweep, results)]


def write_summary(folder: Path, sweep: Sweep, results: Sequence[RunResult]) -> list[Table]:
    """Write summary.md, summary.tex, summary.json, runs.csv and summary.png into `folder`; return the tables."""
    tables = [table for table in all_tables(sweep, results) if table.rows]
    texts = {
        "summary.md": "\n\n".join(map(as_markdown, tables)) + f"\n\n{count_states(results)}\n",
        "summary.tex": "\n\n".join(map(as_latex, tables)) + "\n",
        "summary.json": _summary_json(sweep, results),
        "runs.csv": runs_csv(sweep, results),
    }
    for name, text in texts.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if any(result.state == "finished" for result in results):
        draw(folder / "summary.png", sweep, results)
    return tables


def count_states(results: Sequence[RunResult]) -> str:
    """Count the runs in every state, and sum up their time."""
    states = [result.state for result in results]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return f"{counts}; {sum(result.seconds for result in results) / 60:.1f} minutes of runs in all"


def runs_csv(sweep: Sweep, results: Sequence[RunResult]) -> str:
    """Format one line of CSV per run: state, time, settings and metrics."""
    names = list(dict.fromkeys(name for result in results for name in result.spec.settings))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = [column.rstrip("^_") for column in sweep.metrics]
    writer.writerow(["run", "label", "seed", "state", "seconds", *names, *heads, "error"])
    for spec, state, files, seconds, error in results:
        settings = [spec.settings.get(name, "") for name in names]
        values = [read_metrics(files, path, spec) for path in sweep.metrics.values()]
        cells = ["" if math.isnan(value) else value for value in values]
        writer.writerow([spec.name, spec.label, spec.seed, state, round(seconds, 1), *settings, *cells, error])
    return text.getvalue()


def draw(path: Path, sweep: Sweep, results: Sequence[RunResult]) -> None:
    """Draw every metric: a dot per seed, mean and standard deviation per label."""
    rows = seed_stats(sweep, results)
    num_columns = min(len(sweep.metrics), 3)
    num_rows = -(-len(sweep.metrics) // num_columns)
    size = (3.2 + 3.4 * num_columns, num_rows * (1.1 + 0.42 * len(rows)))
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    panels = figure.subplots(num_rows, num_columns, squeeze=False, sharey=True).ravel()
    for panel, column in zip(panels, sweep.metrics, strict=False):
        for place, values in enumerate(rows.values()):
            _draw_stats(panel, place, values[column])
        panel.set_title(column_title(column), loc="left", fontsize=10)
        panel.locator_params(axis="x", nbins=4)  # more labels would overlap
        panel.grid(axis="x", alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(rows)), list(rows), fontsize=9)
    panels[0].invert_yaxis()
    for panel in panels[len(sweep.metrics) :]:
        panel.set_visible(False)
    figure.suptitle(sweep.title, fontsize=11)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw_stats(panel: Any, place: int, stats: SeedStats) -> None:
    panel.plot(stats.values, np.full(len(stats.values), place), "o", color="#8a8f98", alpha=0.7, markersize=4)
    width = 0.0 if math.isnan(stats.std) else stats.std
    panel.errorbar(stats.mean, place, xerr=width, fmt="D", color="#1f6feb", capsize=4, markersize=6)


def _labels(results: Sequence[RunResult]) -> list[str]:
    return list(dict.fromkeys(result.spec.label for result in results))


def _count_finished(results: Sequence[RunResult], label: str) -> int:
    return sum(r.state == "finished" and label in (r.spec.label, _AVERAGE) for r in results)


def _cell(stats: SeedStats, column: str) -> str:
    if math.isnan(stats.mean):
        return _NONE
    std = "" if math.isnan(stats.std) else f" \N{PLUS-MINUS SIGN} {_number(stats.std, column)}"
    return _number(stats.mean, column) + std


def _number(value: float, column: str) -> str:
    return f"{value:.{_digits(column)}f}"


def _signed(value: float, column: str) -> str:
    return f"{value:+.{_digits(column)}f}"


def _digits(column: str) -> int:
    return 3 if any(word in column for word in ("SSIM", "LPIPS", "IoU")) else 2


def _summary_json(sweep: Sweep, results: Sequence[RunResult]) -> str:
    content = {
        "title": sweep.title,
        "rows": {
            label: {column.rstrip("^_"): _as_json(stats) for column, stats in values.items()}
            for label, values in seed_stats(sweep, results).items()
        },
        "unavailable": dict(sweep.unavailable),
        "failed": {result.spec.name: result.error for result in results if result.state == "failed"},
        "config": sorted({str(result.spec.settings[CONFIG]) for result in results}),
        "count_states": count_states(results),
    }
    return json.dumps(content, indent=2) + "\n"


def _as_json(stats: SeedStats) -> dict[str, Any]:
    """Replace nan, which JSON does not have: leave out statistics, and write values as null."""
    numbers = {name: value for name, value in stats._asdict().items() if name != "values" and not math.isnan(value)}
    return numbers | {"values": [None if math.isnan(value) else value for value in stats.values]}
