"""What a benchmark leaves behind: metrics.json, tables for people and papers, and a page with pictures."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import SceneData
from ff_jax.evaluation import summary
from ff_jax.evaluation.benchmark import Board, Networks, Protocols, points_at, with_counts
from ff_jax.evaluation.renderers import Rendering
from ff_jax.evaluation.shifted_views import Target
from ff_jax.evaluation.summary import Metric, Values
from ff_jax.export.figures import contact_sheet
from ff_jax.export.html import write_page
from ff_jax.export.records import Drawing, Panel, Report, Row, shift_name
from ff_jax.export.tables import Table, as_latex, as_markdown, head
from ff_jax.metrics import nta_iou, ntl_iou
from ff_jax.metrics.lane_raster import raster
from ff_jax.runtime.atomic_files import replacing

Results = dict[tuple[str, float], Values]  # by version and shift

LEGIBLE = 640  # pixels across, at least, where something is drawn over a view

_GROUPS = (
    ("Image quality, vehicles, lanes, distributions", summary.MAIN),
    ("By region of the EIG map", summary.REGIONS),
    ("Strict protocols, depth, consistency in time", summary.STRICT),
)


def results_of(boards: Mapping[int, Board]) -> Results:
    """Return the numbers of every version and shift: of the one log, or over all logs."""
    first = next(iter(boards.values()))
    if len(boards) == 1:
        return {key: summary.summarize(first, *key) for key in first.cells}
    whole = summary.pooled(list(boards.values()))
    return {key: summary.over_seeds(boards, *key) | whole[key] for key in first.cells}


def tables_of(results: Results, counts: Mapping[float, int]) -> list[Table]:
    """Return the tables of everything that was measured; "±" is half of the 95 % interval.

    Args:
        results: by version and shift.
        counts: views per shift.
    """
    tables = []
    for title, metrics in _GROUPS:
        used = [metric for metric in metrics if any(metric.key in values for values in results.values())]
        if used:
            rows = [
                (version, shift_name(shift), str(counts[shift]), *(_cell(values, metric) for metric in used))
                for (version, shift), values in sorted(results.items(), key=lambda item: item[0][1])
            ]
            tables.append(Table(title, ("version", "shift", "views", *(metric.head for metric in used)), rows))
    return tables


def difference_table(boards: Mapping[int, Board]) -> Table:
    """Return what the last version changes against the first one, log by log: metrics down, shifts across."""
    first = next(iter(boards.values()))
    versions = list(dict.fromkeys(version for version, _ in first.cells))
    shifts = sorted({shift for _, shift in first.cells})
    found = {shift: summary.differences(boards, versions[0], versions[-1], shift) for shift in shifts}
    metrics = [
        m for _, group in _GROUPS for m in group if m.key not in ("reals", "ucr_share", "vehicles", "vehicles_strict")
    ]
    used = [metric for metric in metrics if any(metric.key in values for values in found.values())]
    rows = [(m.head, *(_cell(found[shift], m, sign="+") for shift in shifts)) for m in used]
    title = f"{versions[-1]} against {versions[0]}, differences on the same log"
    return Table(title, ("metric", *map(shift_name, shifts)), [(head(row[0]), *row[1:]) for row in rows])


def paper_table(results: Results) -> Table:
    """Return the table of the papers: one row per version, NTA-IoU, NTL-IoU and FID at every distance.

    Both sides are averaged where both were measured, which the papers do not state for theirs.
    """
    distances = sorted({abs(shift) for _, shift in results if shift})
    keys = [m for m in summary.MAIN if m.key in ("nta", "ntl", "fid")]
    columns = [f"{m.head[:-1]} @{d:g}m{m.head[-1]}" for d in distances for m in keys]
    rows = []
    for version in dict.fromkeys(version for version, _ in results):
        cells = []
        for distance in distances:
            sides = [values for (name, shift), values in results.items() if name == version and abs(shift) == distance]
            for metric in keys:
                found = [values[metric.key].mean for values in sides if metric.key in values]
                cells.append(f"{np.mean(found):.{metric.digits}f}" if found else "\N{EN DASH}")
        rows.append((version, *cells))
    return Table("Extrapolation benchmark", ("method", *columns), rows)


def write(
    folder: Path,
    name: str,
    source: str,
    results: Results,
    counts: Mapping[float, int],
    facts: Mapping[str, Any],
    panels: Sequence[Panel],
    drawings: Sequence[Drawing],
    extra: Mapping[str, Any],
    more: Sequence[Table] = (),
) -> list[Table]:
    """Write metrics.json, tables.md, tables.tex and index.html into `folder`, and return the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = [*tables_of(results, counts), *more]
    paper = paper_table(results)
    content = {"name": name, "source": source, "results": listed(results), "facts": dict(facts)} | dict(extra)
    _write(folder / "metrics.json", json.dumps(_plain(content), indent=2))
    _write(folder / "tables.md", "\n\n".join(map(as_markdown, [*tables, paper])) + "\n")
    _write(folder / "tables.tex", "\n\n".join(map(as_latex, [*tables, paper])) + "\n")
    versions = list(dict.fromkeys(version for version, _ in results))
    report = Report(
        title=f"Extrapolation benchmark: {name}",
        subtitle=source,
        facts=facts,
        rows=_rows(results, versions),
        panels=panels,
        tables=[*tables, paper],
        drawings=drawings,
        names=(versions[0], versions[-1])[: len(versions)],
    )
    write_page(folder / "index.html", report)
    return tables


def listed(results: Results) -> list[dict[str, Any]]:
    """Return results as records: version, shift, and by metric its mean, 95 % interval and count."""
    return [
        {"version": version, "shift": shift} | {key: value._asdict() for key, value in values.items()}
        for (version, shift), values in results.items()
    ]


def draw(
    log: SceneData, target: Target, rendering: Rendering, networks: Networks, protocols: Protocols, version: str
) -> Drawing | None:
    """Return a view with its detections and its lanes drawn over it; None without networks or labels."""
    view = (np.asarray(target.frame.K, float), target.pose, target.frame.width, target.frame.height)
    pictures = {}
    times = -(-LEGIBLE // target.frame.width)
    shown = rendering.rgb.repeat(times, 0).repeat(times, 1)
    if networks.detector is not None and log.boxes:
        protocol = protocols.vehicles["nta"]
        time_index = target.frame.time_index
        counted = with_counts(log, time_index, points_at(log, time_index))
        known = nta_iou.frame_ground_truth(counted, time_index, *view, protocol)
        found = nta_iou.detect(networks.detector, rendering.rgb, protocol)
        scored = nta_iou.score_frame(found, known, protocol)
        pictures["vehicles"] = nta_iou.draw(shown, found, known, scored)
    if networks.lanes is not None and log.lanes:
        known = raster(log.lanes, *view, protocols.lanes["ntl_strict"])
        pictures["lanes"] = ntl_iou.draw(rendering.rgb, networks.lanes(rendering.rgb), known)
    if not pictures:
        return None
    sheet = contact_sheet([list(pictures.values())], list(pictures), width=shown.shape[1])
    place = f"{shift_name(target.shift)}, {target.frame.camera}, t = {target.frame.time:.1f} s"
    return Drawing(f"{version}, {place}", sheet)


def panel(target: Target, seen: Sequence[Rendering]) -> Panel:
    """Return one view in the first and the last version, with truth and EIG where they are known."""
    gain = next((rendering.eig for rendering in seen if rendering.eig is not None), None)
    after = seen[-1].rgb if len(seen) > 1 else None
    truth = load_image(target.frame) if target.has_truth else None
    return Panel(target.shift, seen[0].rgb, after, truth, gain, f"{target.frame.camera}, t = {target.frame.time:.1f} s")


def _cell(values: Values, metric: Metric, sign: str = "") -> str:
    if metric.key not in values or math.isnan(values[metric.key].mean):
        return "\N{EN DASH}"
    value = values[metric.key]
    half = (value.high - value.low) / 2
    spread = "" if math.isnan(half) else f" \N{PLUS-MINUS SIGN}{half:.{metric.digits}f}"
    return f"{value.mean:{sign}.{metric.digits}f}{spread}"


def _rows(results: Results, versions: Sequence[str]) -> list[Row]:
    """Return the first version against the last one, for the headline and the charts of the page."""
    shown = [metric for metric in summary.MAIN if metric.key != "reals"]
    named = lambda values: {m.head.rstrip("^_"): values[m.key].mean for m in shown if m.key in values}
    rows = []
    for shift in sorted({shift for _, shift in results}):
        after = named(results[versions[-1], shift]) if len(versions) > 1 else {}
        rows.append(Row(shift, named(results[versions[0], shift]), after))
    return rows


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it: null for what is not a number."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool) or value is None else str(value)
