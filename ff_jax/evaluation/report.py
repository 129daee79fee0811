"""Write the results of a benchmark: metrics.json, tables for people and papers, and a page with images."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import SceneData
from ff_jax.evaluation import summary
from ff_jax.evaluation.benchmark import ScoreKey, ScoreTable
from ff_jax.evaluation.ground_truth import Networks, Protocols, camera_of, points_at, with_counts
from ff_jax.evaluation.renderers import RenderedTarget
from ff_jax.evaluation.shifted_views import Target
from ff_jax.evaluation.summary import Intervals, Metric
from ff_jax.export.figures import contact_sheet
from ff_jax.export.html import write_page
from ff_jax.export.records import Drawing, MetricsRow, Panel, Report, shift_name
from ff_jax.export.tables import Table, as_latex, as_markdown, column_title
from ff_jax.metrics import nta_iou, ntl_iou
from ff_jax.metrics.lane_raster import rasterize_lanes
from ff_jax.runtime.atomic_files import atomic_write

Results = dict[ScoreKey, Intervals]

MIN_OVERLAY_WIDTH = 640  # pixels; narrower views are enlarged before boxes are drawn on them

_GROUPS = (
    ("Image quality, vehicles, lanes, distributions", summary.MAIN),
    ("By region of the EIG map", summary.REGIONS),
    ("Strict protocols, depth, consistency in time", summary.STRICT),
)
_COUNTS = ("reals", "ucr_share", "vehicles", "vehicles_strict")  # keys of metrics whose differences say nothing


@dataclass(frozen=True)
class BenchmarkReport:
    """The content of a benchmark's files.

    Attributes:
        name: of the log or the set of logs.
        source: where it comes from.
        results: by version and shift.
        counts: number of views per shift.
        facts: settings and networks.
        panels: images by shift.
        drawings: views with detections and lanes.
        extra: further content of metrics.json.
        tables: further tables.
        unit: of length: "m", or "units" where the meter is unknown.
    """

    name: str
    source: str
    results: Results
    counts: Mapping[float, int]
    facts: Mapping[str, Any] = field(default_factory=dict)
    panels: Sequence[Panel] = ()
    drawings: Sequence[Drawing] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    unit: str = "m"


def collect_results(tables: Mapping[int, ScoreTable]) -> Results:
    """Summarize every version at every shift: of one log, or over all logs."""
    first = next(iter(tables.values()))
    if len(tables) == 1:
        return {key: summary.summarize(first, *key) for key in first.measurements}
    distances = summary.pooled_distances(list(tables.values()))
    return {key: summary.over_logs(tables, *key) | distances[key] for key in first.measurements}


def result_tables(results: Results, counts: Mapping[float, int], unit: str = "m") -> list[Table]:
    """Make the tables of all measured metrics; "±" is half of the 95 % interval.

    Args:
        results: by version and shift.
        counts: number of views per shift.
        unit: of length.
    """
    tables = []
    for title, metrics in _GROUPS:
        used = _measured(metrics, list(results.values()))
        if used:
            rows = [
                (version, shift_name(shift, unit), str(counts[shift]), *(_cell(values, metric) for metric in used))
                for (version, shift), values in sorted(results.items(), key=lambda item: item[0][1])
            ]
            heads = (metric.head.replace("[m]", f"[{unit}]") for metric in used)
            tables.append(Table(title, ("version", "shift", "views", *heads), rows))
    return tables


def difference_table(tables: Mapping[int, ScoreTable], unit: str = "m") -> Table:
    """Make the table of the last version minus the first one, log by log: metrics down, shifts across."""
    first = next(iter(tables.values()))
    versions = list(dict.fromkeys(version for version, _ in first.measurements))
    shifts = sorted({shift for _, shift in first.measurements})
    columns = [summary.differences(tables, versions[0], versions[-1], shift) for shift in shifts]
    metrics = [metric for _, group in _GROUPS for metric in group if metric.key not in _COUNTS]
    rows = [
        (
            column_title(metric.head.replace("[m]", f"[{unit}]")),
            *(_cell(values, metric, sign="+") for values in columns),
        )
        for metric in _measured(metrics, columns)
    ]
    title = f"{versions[-1]} against {versions[0]}, differences on the same log"
    return Table(title, ("metric", *(shift_name(shift, unit) for shift in shifts)), rows)


def _measured(metrics: Sequence[Metric], columns: Sequence[Intervals]) -> list[Metric]:
    return [metric for metric in metrics if any(metric.key in values for values in columns)]


def paper_table(results: Results, unit: str = "m") -> Table:
    """Make the table of the papers: one row per version, NTA-IoU, NTL-IoU and FID at every distance.

    Both sides are averaged if both were measured; the papers do not state their rule.
    """
    distances = sorted({abs(shift) for _, shift in results if shift})
    metrics = [metric for metric in summary.MAIN if metric.key in ("nta", "ntl", "fid")]
    suffix = unit if unit == "m" else f" {unit}"
    columns = [f"{m.head[:-1]} @{distance:g}{suffix}{m.head[-1]}" for distance in distances for m in metrics]
    rows = []
    for version in dict.fromkeys(version for version, _ in results):
        cells = []
        for distance in distances:
            sides = [values for (name, shift), values in results.items() if name == version and abs(shift) == distance]
            for metric in metrics:
                means = [values[metric.key].mean for values in sides if metric.key in values]
                cells.append(f"{np.mean(means):.{metric.digits}f}" if means else "\N{EN DASH}")
        rows.append((version, *cells))
    return Table("Extrapolation benchmark", ("method", *columns), rows)


def write_report(folder: Path, report: BenchmarkReport) -> list[Table]:
    """Write metrics.json, tables.md, tables.tex and index.html into `folder`; return the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = [*result_tables(report.results, report.counts, report.unit), *report.tables]
    all_tables = [*tables, paper_table(report.results, report.unit)]
    content = {
        "name": report.name,
        "source": report.source,
        "unit": report.unit,
        "results": as_records(report.results),
        "facts": dict(report.facts),
    } | dict(report.extra)
    _write(folder / "metrics.json", json.dumps(_as_json(content), indent=2))
    _write(folder / "tables.md", "\n\n".join(map(as_markdown, all_tables)) + "\n")
    _write(folder / "tables.tex", "\n\n".join(map(as_latex, all_tables)) + "\n")
    versions = list(dict.fromkeys(version for version, _ in report.results))
    page = Report(
        title=f"Extrapolation benchmark: {report.name}",
        subtitle=report.source,
        facts=report.facts,
        rows=_page_rows(report.results, versions),
        panels=report.panels,
        tables=all_tables,
        drawings=report.drawings,
        names=(versions[0], versions[-1])[: len(versions)],
        unit=report.unit,
    )
    write_page(folder / "index.html", page)
    return tables


def as_records(results: Results) -> list[dict[str, Any]]:
    """Convert results to records: version, shift, and by metric its mean, 95 % interval and count."""
    return [
        {"version": version, "shift": shift} | {key: value._asdict() for key, value in values.items()}
        for (version, shift), values in results.items()
    ]


def draw_overlays(
    log: SceneData, target: Target, rendered: RenderedTarget, networks: Networks, protocols: Protocols, version: str
) -> Drawing | None:
    """Draw detections and lanes on a view; None without networks or labels."""
    camera = camera_of(target)
    images = {}
    factor = -(-MIN_OVERLAY_WIDTH // target.frame.width)
    enlarged = rendered.rgb.repeat(factor, 0).repeat(factor, 1)
    if networks.detector is not None and log.boxes:
        protocol, time_index = protocols.vehicles["nta"], target.frame.time_index
        with_boxes = with_counts(log, time_index, points_at(log, time_index))
        truth = nta_iou.frame_ground_truth(with_boxes, time_index, *camera, protocol)
        detections = nta_iou.detect(networks.detector, rendered.rgb, protocol)
        scores = nta_iou.score_frame(detections, truth, protocol)
        images["vehicles"] = nta_iou.draw(enlarged, detections, truth, scores)
    if networks.lanes is not None and log.lanes:
        lanes = rasterize_lanes(log.lanes, *camera, protocols.lanes["ntl_strict"])
        images["lanes"] = ntl_iou.draw(rendered.rgb, networks.lanes(rendered.rgb), lanes)
    if not images:
        return None
    sheet = contact_sheet([list(images.values())], list(images), width=enlarged.shape[1])
    return Drawing(f"{version}, {shift_name(target.shift, log.unit)}, {_view_name(target)}", sheet)


def make_panel(target: Target, renders: Sequence[RenderedTarget]) -> Panel:
    """Collect one view in the first and the last version, with its true image and EIG if there are any."""
    eig = next((rendered.eig for rendered in renders if rendered.eig is not None), None)
    after = renders[-1].rgb if len(renders) > 1 else None
    truth = load_image(target.frame) if target.has_truth else None
    return Panel(target.shift, renders[0].rgb, after, truth, eig, _view_name(target))


def _view_name(target: Target) -> str:
    return f"{target.frame.camera}, t = {target.frame.time:.1f} s"


def _cell(values: Intervals, metric: Metric, sign: str = "") -> str:
    if metric.key not in values or math.isnan(values[metric.key].mean):
        return "\N{EN DASH}"
    value = values[metric.key]
    half = (value.high - value.low) / 2
    spread = "" if math.isnan(half) else f" \N{PLUS-MINUS SIGN}{half:.{metric.digits}f}"
    return f"{value.mean:{sign}.{metric.digits}f}{spread}"


def _page_rows(results: Results, versions: Sequence[str]) -> list[MetricsRow]:
    """Make the rows of the first version beside the last one, for the headline and the charts of the page."""

    def means(version: str, shift: float) -> dict[str, float]:
        values = results[ScoreKey(version, shift)]
        metrics = [m for m in summary.MAIN if m.key in values and m.key != "reals"]
        return {metric.head.rstrip("^_"): values[metric.key].mean for metric in metrics}

    return [
        MetricsRow(shift, means(versions[0], shift), means(versions[-1], shift) if len(versions) > 1 else {})
        for shift in sorted({shift for _, shift in results})
    ]


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _as_json(value: Any) -> Any:
    """Convert a value to JSON types; numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {str(key): _as_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(inner) for inner in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool) or value is None else str(value)
