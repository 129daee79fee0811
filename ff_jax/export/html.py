"""Write a results page as one self-contained HTML file."""

import base64
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from ff_jax.export.colormaps import heatmap
from ff_jax.export.figures import eig_scale, svg_chart
from ff_jax.export.image_bytes import data_url
from ff_jax.export.records import Curve, MetricsRow, Panel, Report, Series, is_lower_better, metric_names, shift_name
from ff_jax.export.tables import column_title
from ff_jax.runtime.atomic_files import atomic_write

VIDEO_LIMIT = 24 * 2**20  # bytes; larger videos are linked, to keep the page small
TEMPLATE = Path(__file__).with_name("page.html.j2")


def write_page(path: str | Path, report: Report) -> None:
    """Write `report` as one HTML file without external resources (only a video above 24 MiB is linked).

    Raises:
        FileNotFoundError: the video of the report does not exist.
        DiskFullError: the disk is full.
    """
    path = Path(path)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["data_url"] = data_url
    environment.filters["shift"] = partial(shift_name, unit=report.unit)
    environment.filters["column_title"] = column_title
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        report=report,
        tiles=_tiles(report),
        changes=_changes(report),
        uncertain=_uncertain(report),
        tables=_tables(report),
        panels=[_panel(p, report) for p in sorted(report.panels, key=lambda p: p.shift)],
        eig_maximum=_eig_maximum(report.panels),
        charts=[Markup(svg_chart(curve)) for curve in (*_shift_curves(report), *report.curves)],
        video=None if report.video is None else _video(Path(report.video), path),
        facts=_flat(report.facts),
    )
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _largest(rows: Sequence[MetricsRow]) -> MetricsRow | None:
    return max(rows, key=lambda r: abs(r.shift), default=None)


def _changes(report: Report) -> dict[str, Any] | None:
    """List the metrics that became better and worse at the largest shift; None if nothing is compared."""
    row = _largest(report.rows)
    if row is None or not row.after:
        return None
    cells = [(name, _cell(name, row)) for name in metric_names([row])]
    lists = {tone: [{"name": name, **cell} for name, cell in cells if cell["tone"] == tone] for tone in ("good", "bad")}
    return {"shift": shift_name(row.shift, report.unit), **lists}


def _uncertain(report: Report) -> list[dict[str, str]]:
    """Compute the share of uncertain pixels in the last version of the picture of every shift."""
    rows = []
    for panel in sorted(report.panels, key=lambda p: p.shift) if report.tau is not None else ():
        eig = panel.eig if panel.eig_after is None else panel.eig_after
        if eig is not None:
            rows.append(
                {
                    "shift": shift_name(panel.shift, report.unit),
                    "share": f"{(np.asarray(eig) >= report.tau).mean():.0%}",
                }
            )
    return rows


def _tiles(report: Report) -> list[dict[str, str]]:
    """Collect the headline: every metric at the largest shift."""
    row = _largest(report.rows)
    if row is None:
        return []
    tiles = []
    for name in metric_names([row]):
        cell = _cell(name, row)
        if cell["delta"]:
            tiles.append({"name": f"{name} at {shift_name(row.shift, report.unit)}", **cell})
    return tiles[:4]


def _tables(report: Report) -> list[dict[str, Any]]:
    """Build a table per metric, which fits a narrow screen: a row per shift, the mean last."""
    rows = report.rows
    lines = [(shift_name(row.shift, report.unit), row) for row in sorted(rows, key=lambda r: r.shift)]
    if len(rows) > 1:
        lines.append(("mean", _mean(rows)))
    return [
        {
            "name": name,
            "better": "lower" if is_lower_better(name) else "higher",
            "lines": [(label, _cell(name, row)) for label, row in lines],
        }
        for name in metric_names(rows)
    ]


def _mean(rows: Sequence[MetricsRow]) -> MetricsRow:
    """Average every metric that all rows have."""

    def average(sides: Sequence[Mapping[str, float]]) -> dict[str, float]:
        shared = [name for name in sides[0] if all(name in side for side in sides)]
        return {name: sum(side[name] for side in sides) / len(sides) for name in shared}

    return MetricsRow(0, average([r.before for r in rows]), average([r.after for r in rows]))


def _cell(name: str, row: MetricsRow) -> dict[str, str]:
    """Format before, after and difference of a metric, with the tone "good" or "bad" of the difference."""
    before, after = row.before.get(name), row.after.get(name)
    digits = 2 if name.upper().startswith(("PSNR", "FID")) else 3
    text = {"before": _number(before, digits), "after": _number(after, digits), "delta": "", "tone": ""}
    if before is not None and after is not None:
        difference = round(float(after - before), digits) + 0.0  # no negative zero
        better = difference < 0 if is_lower_better(name) else difference > 0
        text["delta"] = f"{difference:{'+' if difference else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}")
        text["tone"] = "" if difference == 0 or difference != difference else "good" if better else "bad"
    return text


def _number(value: float | int | None, digits: int) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _eig_maximum(panels: Sequence[Panel]) -> float | None:
    maps = [eig for panel in panels for eig in (panel.eig, panel.eig_after) if eig is not None]
    return eig_scale(maps) if maps else None


def _panel(panel: Panel, report: Report) -> dict[str, Any]:
    """Collect the versions of one view as (name, picture), in the order of the menu."""
    versions = [(name, view) for name, view in zip(report.names, (panel.before, panel.after), strict=False)]
    if panel.truth is not None:
        versions.append(("Ground truth", panel.truth))
    maps = {"EIG" if panel.eig_after is None else "EIG before": panel.eig, "EIG after": panel.eig_after}
    maximum = _eig_maximum(report.panels) or 1.0
    versions += [(name, heatmap(eig, maximum)) for name, eig in maps.items() if eig is not None]
    is_unique = sum(other.shift == panel.shift for other in report.panels) == 1
    name = shift_name(panel.shift, report.unit)
    name = name if is_unique else f"{name}, {panel.caption}"
    return {"shift": panel.shift, "name": name, "caption": panel.caption, "versions": versions}


def _shift_curves(report: Report) -> list[Curve]:
    """Make one chart of every metric against shift, if there is more than one shift."""
    curves = []
    rows = sorted(report.rows, key=lambda r: r.shift)
    for name in metric_names(rows) if len(rows) > 1 else ():
        lines = []
        for label, side in zip(report.names, ("before", "after"), strict=False):
            points = [(r.shift, getattr(r, side)[name]) for r in rows if name in getattr(r, side)]
            if points:
                lines.append(Series(label, *(list(column) for column in zip(*points, strict=True))))
        curves.append(Curve(f"{name} by shift", f"lateral shift, {report.unit} (left is positive)", lines))
    return curves


def _video(video: Path, page: Path) -> str:
    """Make the URL of a video: its content if small enough, a relative link otherwise."""
    if not video.is_file():
        raise FileNotFoundError(f"the video of the report does not exist: {video}")
    if video.stat().st_size > VIDEO_LIMIT:
        return Path(os.path.relpath(video, page.parent)).as_posix()
    return f"data:video/mp4;base64,{base64.b64encode(video.read_bytes()).decode()}"


def _flat(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested facts to lines of dotted names and text."""
    lines = []
    for key, value in facts.items():
        if isinstance(value, Mapping):
            lines += _flat(value, f"{prefix}{key}.")
        else:
            lines.append((f"{prefix}{key}", str(value)))
    return lines
