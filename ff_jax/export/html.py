"""Write a results page as one self-contained HTML file."""

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ff_jax.export.colormaps import heatmap
from ff_jax.export.figures import eig_scale, svg_chart
from ff_jax.export.image_bytes import data_url
from ff_jax.export.records import LOWER_IS_BETTER, Curve, MetricsRow, Panel, Report, Series, metric_names, shift_name
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
    environment.filters["shift"] = shift_name
    environment.filters["column_title"] = column_title
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        report=report,
        tiles=_tiles(report.rows),
        table=_table(report.rows),
        panels=[_panel(p, report) for p in sorted(report.panels, key=lambda p: p.shift)],
        eig_maximum=_eig_maximum(report.panels),
        charts=[Markup(svg_chart(curve)) for curve in (*_shift_curves(report), *report.curves)],
        video=None if report.video is None else _video(Path(report.video), path),
        facts=_flat(report.facts),
    )
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _tiles(rows: Sequence[MetricsRow]) -> list[dict[str, str]]:
    """Collect the headline: every metric at the largest shift."""
    if not rows:
        return []
    row = max(rows, key=lambda r: abs(r.shift))
    tiles = []
    for name in metric_names([row]):
        cell = _cell(name, row)
        if cell["delta"]:
            tiles.append({"name": f"{name} at {shift_name(row.shift)}", **cell})
    return tiles[:4]


def _table(rows: Sequence[MetricsRow]) -> dict[str, Any]:
    """Build the summary table: columns by metric, rows by shift, the mean last."""
    names = metric_names(rows)
    lines = [(shift_name(r.shift), [_cell(n, r) for n in names]) for r in sorted(rows, key=lambda r: r.shift)]
    if len(rows) > 1:
        lines.append(("mean", [_cell(n, _mean(rows)) for n in names]))
    return {"names": [(n, "lower" if n in LOWER_IS_BETTER else "higher") for n in names], "lines": lines}


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
        better = difference < 0 if name in LOWER_IS_BETTER else difference > 0
        text["delta"] = f"{difference:{'+' if difference else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}")
        text["tone"] = "" if difference == 0 or difference != difference else "good" if better else "bad"
    return text


def _number(value: float | int | None, digits: int) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _eig_maximum(panels: Sequence[Panel]) -> float | None:
    maps = [panel.eig for panel in panels if panel.eig is not None]
    return eig_scale(maps) if maps else None


def _panel(panel: Panel, report: Report) -> dict[str, Any]:
    """Collect the versions of one view as (name, picture), in the order of the menu."""
    versions = [(name, view) for name, view in zip(report.names, (panel.before, panel.after), strict=False)]
    if panel.truth is not None:
        versions.append(("Ground truth", panel.truth))
    if panel.eig is not None:
        versions.append(("EIG", heatmap(panel.eig, eig_scale([other.eig for other in report.panels]))))
    is_unique = sum(other.shift == panel.shift for other in report.panels) == 1
    name = shift_name(panel.shift) if is_unique else f"{shift_name(panel.shift)}, {panel.caption}"
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
        curves.append(Curve(f"{name} by shift", "lateral shift, m (left is positive)", lines))
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
