"""What a sweep leaves behind: tables, a CSV file of all points, and a chart of every metric with its seeds."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from experiments.sweeps.definition import FILE, Point, Spread, Sweep, is_higher_better, metric, summarize
from ff_jax.export.tables import Table, as_latex, as_markdown, head
from ff_jax.runtime.atomic_files import replacing

_NONE = "\N{EN DASH}"
_AVERAGE = "all rows"


class Use(NamedTuple):
    """On what a point ran, and when."""

    device: str  # its kind
    gpu: str  # which one; empty for a CPU
    begun: float  # seconds since 1970
    ended: float


class Result(NamedTuple):
    """What became of one point."""

    point: Point
    state: str  # "finished", "failed", "started" or "new"
    read: Mapping[str, Any]  # content of its JSON files by their path in its folder
    seconds: float  # that its commands have taken
    error: str = ""  # last sentence of a failed one
    use: Use | None = None


def spreads(sweep: Sweep, results: Sequence[Result]) -> dict[str, dict[str, Spread]]:
    """Return every metric of every label over the seeds that finished."""
    finished = [result for result in results if result.state == "finished"]
    groups = {label: [r for r in finished if r.point.label == label] for label in _labels(results)}
    if sweep.average:
        groups[_AVERAGE] = finished
    return {
        label: {
            column: summarize([metric(r.read, path) for r in group], higher=is_higher_better(column))
            for column, path in sweep.metrics.items()
        }
        for label, group in groups.items()
    }


def summary_table(sweep: Sweep, results: Sequence[Result]) -> Table:
    """Return the table of a sweep: means and standard deviations over seeds; rows that cannot be run stay empty."""
    empty = (_NONE,) * len(sweep.metrics)
    rows = [
        (label, str(_finished(results, label)), *(_cell(spread, column) for column, spread in values.items()))
        for label, values in spreads(sweep, results).items()
    ]
    rows += [(f"{name} ({reason})", "0", *empty) for name, reason in sweep.missing.items()]
    return Table(sweep.title, ("", "runs", *sweep.metrics), rows)


def best_table(sweep: Sweep, results: Sequence[Result]) -> Table:
    """Return which point is best in every metric."""
    rows = []
    for column, path in sweep.metrics.items():
        sign = 1 if is_higher_better(column) else -1
        known = [(sign * metric(r.read, path), r.point) for r in results if r.state == "finished"]
        known = [(value, point) for value, point in known if math.isfinite(value)]
        if known:
            value, point = max(known, key=lambda pair: pair[0])
            rows.append((head(column), _number(sign * value, column), point.label, str(point.seed)))
    return Table(f"{sweep.title}: best points", ("metric", "value", "point", "seed"), rows)


def write_summary(folder: Path, sweep: Sweep, results: Sequence[Result]) -> list[Table]:
    """Write summary.md, summary.tex, summary.json, points.csv and summary.png into `folder`; return the tables."""
    tables = [table for table in (summary_table(sweep, results), best_table(sweep, results)) if table.rows]
    texts = {
        "summary.md": "\n\n".join(map(as_markdown, tables)) + f"\n\n{cost(results)}\n",
        "summary.tex": "\n\n".join(map(as_latex, tables)) + "\n",
        "summary.json": _json(sweep, results),
        "points.csv": points_csv(sweep, results),
    }
    for name, text in texts.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if any(result.state == "finished" for result in results):
        draw(folder / "summary.png", sweep, results)
    return tables


def cost(results: Sequence[Result]) -> str:
    """Return how many points there are in every state, the time that they have taken, and how long GPUs worked."""
    states = [result.state for result in results]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    uses = [result.use for result in results if result.use]
    devices = ", ".join(dict.fromkeys(use.device for use in uses))
    text = f"{counted}; {sum(result.seconds for result in results) / 60:.1f} minutes of runs in all"
    text += f" on {devices}" if devices else ""
    gpus = {use.gpu for use in uses if use.gpu}
    if not gpus:
        return text
    return f"{text}; {sum(map(_occupied, ([u for u in uses if u.gpu == gpu] for gpu in gpus))) / 60:.1f} GPU minutes"


def _occupied(uses: Sequence[Use]) -> float:
    """Return the seconds during which at least one of several points ran."""
    total, until = 0.0, -math.inf
    for use in sorted(uses, key=lambda use: use.begun):
        total += max(use.ended - max(use.begun, until), 0.0)
        until = max(until, use.ended)
    return total


def points_csv(sweep: Sweep, results: Sequence[Result]) -> str:
    """Return one line per point: state, time, settings and metrics."""
    names = list(dict.fromkeys(name for result in results for name in result.point.settings))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = [column.rstrip("^_") for column in sweep.metrics]
    writer.writerow(["point", "label", "seed", "state", "seconds", *names, *heads, "error"])
    for point, state, read, seconds, error, _ in results:
        settings = [point.settings.get(name, "") for name in names]
        values = [metric(read, path) for path in sweep.metrics.values()]
        known = ["" if math.isnan(value) else value for value in values]
        writer.writerow([point.name, point.label, point.seed, state, round(seconds, 1), *settings, *known, error])
    return text.getvalue()


def draw(path: Path, sweep: Sweep, results: Sequence[Result]) -> None:
    """Draw every metric: a dot per seed, mean and standard deviation per label."""
    rows = spreads(sweep, results)
    across = min(len(sweep.metrics), 3)
    down = -(-len(sweep.metrics) // across)
    size = (3.2 + 3.4 * across, down * (1.1 + 0.42 * len(rows)))
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    for panel, column in zip(panels, sweep.metrics, strict=False):
        for place, values in enumerate(rows.values()):
            _draw_spread(panel, place, values[column])
        panel.set_title(head(column), loc="left", fontsize=10)
        panel.locator_params(axis="x", nbins=4)  # more would overlap
        panel.grid(axis="x", alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(rows)), list(rows), fontsize=9)
    panels[0].invert_yaxis()
    for panel in panels[len(sweep.metrics) :]:
        panel.set_visible(False)
    figure.suptitle(sweep.title, fontsize=11)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw_spread(panel: Any, place: int, spread: Spread) -> None:
    panel.plot(spread.values, np.full(len(spread.values), place), "o", color="#8a8f98", alpha=0.7, markersize=4)
    width = 0.0 if math.isnan(spread.deviation) else spread.deviation
    panel.errorbar(spread.mean, place, xerr=width, fmt="D", color="#1f6feb", capsize=4, markersize=6)


def _labels(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(result.point.label for result in results))


def _finished(results: Sequence[Result], label: str) -> int:
    chosen = [r for r in results if r.state == "finished" and label in (r.point.label, _AVERAGE)]
    return len(chosen)


def _cell(spread: Spread, column: str) -> str:
    if math.isnan(spread.mean):
        return _NONE
    deviation = "" if math.isnan(spread.deviation) else f" \N{PLUS-MINUS SIGN} {_number(spread.deviation, column)}"
    return _number(spread.mean, column) + deviation


def _number(value: float, column: str) -> str:
    fine = any(word in column for word in ("SSIM", "LPIPS", "IoU"))
    return f"{value:.3f}" if fine else f"{value:.2f}"


def _json(sweep: Sweep, results: Sequence[Result]) -> str:
    plain = lambda spread: {
        name: [None if math.isnan(x) else x for x in value] if isinstance(value, tuple) else value
        for name, value in spread._asdict().items()
        if isinstance(value, tuple) or not math.isnan(value)
    }
    content = {
        "title": sweep.title,
        "rows": {
            label: {column.rstrip("^_"): plain(spread) for column, spread in values.items()}
            for label, values in spreads(sweep, results).items()
        },
        "missing": dict(sweep.missing),
        "failed": {result.point.name: result.error for result in results if result.state == "failed"},
        "config": sorted({str(result.point.settings[FILE]) for result in results}),
        "cost": cost(results),
    }
    return json.dumps(content, indent=2) + "\n"
