"""Draw labeled grids of images, and charts as images or SVG."""

import io
from collections.abc import Sequence
from xml.etree import ElementTree

import matplotlib
import numpy as np
from jaxtyping import ArrayLike, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from PIL import Image, ImageDraw, ImageFont

from ff_jax.export.colormaps import heatmap
from ff_jax.export.image_bytes import to_uint8
from ff_jax.export.records import Curve, Panel, Series, shift_name

INK, PAPER = (24, 28, 36), (255, 255, 255)
LINES = ("#8a8f98", "#1f6feb", "#c2571a", "#1a7f5a", "#8250df")  # the first is the quieter baseline
TEXT, RULE = "#5b6270", "#e3e6eb"  # of charts
# The page styles the colors of SVG charts, for light and dark screens.
CSS_COLORS = {TEXT: "var(--soft)", RULE: "var(--rule)"} | {color: f"var(--s{i})" for i, color in enumerate(LINES)}
MAX_POINTS = 300  # of a line; a chart has not more pixels
MAX_MARKERS = 25  # points of a line with markers


def contact_sheet(
    pictures: Sequence[Sequence[ArrayLike | None]],
    columns: Sequence[str] = (),
    rows: Sequence[str] = (),
    *,
    width: int | None = None,
    gap: int = 6,
) -> UInt8[np.ndarray, "H W 3"]:
    """Lay out pictures in a grid with a label above every column and left of every row.

    Args:
        pictures: rows of (H, W, 3) pictures, colors in [0, 1] or uint8; None leaves a cell empty.
        columns: labels of the columns.
        rows: labels of the rows.
        width: pixels to which every picture is scaled; that of the first by default.
        gap: pixels between pictures.

    Raises:
        ValueError: there is no picture, or the number of labels does not fit.
    """
    cells = [[None if p is None else Image.fromarray(to_uint8(p)) for p in row] for row in pictures]
    first = next((cell for row in cells for cell in row if cell is not None), None)
    if first is None:
        raise ValueError("a contact sheet needs at least one picture")
    across = max(len(row) for row in cells)
    if (columns and len(columns) != across) or (rows and len(rows) != len(cells)):
        raise ValueError(f"{columns=} and {rows=} must name {across} columns and {len(cells)} rows")
    cell = (width or first.width, round(first.height * (width or first.width) / first.width))
    font_size = min(max(cell[0] // 14, 11), 28)
    font = ImageFont.load_default(font_size)
    top = (font_size + 2 * gap) if columns else gap
    left = (round(max(font.getlength(label) for label in rows)) + 2 * gap) if rows else gap
    size = (left + across * (cell[0] + gap), top + len(cells) * (cell[1] + gap))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for j, label in enumerate(columns):
        draw.text((left + j * (cell[0] + gap) + cell[0] / 2, top / 2), label, INK, font, anchor="mm")
    for i, row in enumerate(cells):
        y = top + i * (cell[1] + gap)
        if rows:
            draw.text((left - gap, y + cell[1] / 2), rows[i], INK, font, anchor="rm")
        for j, picture in enumerate(row):
            if picture is not None:
                method = Image.Resampling.LANCZOS if picture.width > cell[0] else Image.Resampling.NEAREST
                sheet.paste(picture.resize(cell, method), (left + j * (cell[0] + gap), y))
    return np.asarray(sheet)


def eig_scale(maps: Sequence[Float[ArrayLike, "..."] | None]) -> float:
    """Compute the EIG in nats of the brightest color: the 99th percentile over all maps (1 without any)."""
    values = [np.asarray(m).ravel() for m in maps if m is not None]
    values = np.concatenate(values) if values else np.ones(1)
    values = values[np.isfinite(values)]
    return float(np.percentile(values, 99)) if values.size and values.max() > 0 else 1.0


def panel_sheet(
    panels: Sequence[Panel], names: tuple[str, ...] = ("Reconstruction only", "Fused"), unit: str = "m"
) -> UInt8[np.ndarray, "H W 3"]:
    """Lay out a row per shift: before, after, ground truth and EIG on one scale, where they exist."""
    maximum = eig_scale([panel.eig for panel in panels])
    columns = [names[0], names[-1], "Ground truth", f"EIG, 0 to {maximum:.2g} nats"]
    table = [[p.before, p.after, p.truth, None if p.eig is None else heatmap(p.eig, maximum)] for p in panels]
    used = [j for j in range(4) if any(row[j] is not None for row in table)]
    table = [[row[j] for j in used] for row in table]
    return contact_sheet(table, [columns[j] for j in used], [shift_name(p.shift, unit) for p in panels])


def draw_curves(curves: Sequence[Curve], columns: int = 2) -> UInt8[np.ndarray, "H W 3"]:
    """Draw charts in a grid of `columns`, 480 x 320 pixels each.

    Raises:
        ValueError: there is no chart.
    """
    if not curves:
        raise ValueError("no curves to draw")
    columns = min(columns, len(curves))
    rows = -(-len(curves) // columns)
    figure = Figure((4.8 * columns, 3.2 * rows), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for index, curve in enumerate(curves):
        _draw_curve(figure.add_subplot(rows, columns, index + 1), curve)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def svg_chart(curve: Curve) -> str:
    """Draw a chart as one `<svg>` element for a page that defines the CSS variables of `CSS_COLORS`.

    Points of short lines show their value as a tooltip.
    """
    figure = Figure((4.2, 2.8), layout="constrained")
    _draw_curve(figure.add_subplot(), curve)
    buffer = io.BytesIO()
    # Text stays text, in the font of the page, and equal charts are equal files.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "chart", "font.sans-serif": ["DejaVu Sans"]}):
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    root = ElementTree.fromstring(buffer.getvalue())
    root.remove(root[0])  # a style sheet, which would apply to the whole page
    for element in root.iter():
        # Inline SVG needs no namespaces, and ids of several charts would be equal.
        element.tag = element.tag.partition("}")[2]
        element.attrib = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        element.tail = None
        if element.tag == "g" and (name := element.attrib.pop("id", "")).startswith("series"):
            _add_tooltips(element, curve.series[int(name.removeprefix("series"))], curve.is_log)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": f"{curve.title}, {curve.x_label}"}
    text = ElementTree.tostring(root, encoding="unicode")
    for color, variable in CSS_COLORS.items():
        text = text.replace(color, variable)
    return text


def _add_tooltips(group: ElementTree.Element, series: Series, is_log: bool) -> None:
    markers = [element for element in group.iter() if element.tag.endswith("use")]
    for marker, (x, y, _, _) in zip(markers, _points(series, is_log), strict=False):
        ElementTree.SubElement(marker, "{}title").text = f"{series.name}: {y:.4g} at {x:g}"


def _points(series: Series, is_log: bool) -> Float[np.ndarray, "n 4"]:
    """Collect x, y, low and high of the drawable points of a line, averaged to at most `MAX_POINTS`."""
    low = series.y if series.low is None else series.low
    high = series.y if series.high is None else series.high
    table = np.stack([np.asarray(column, np.float64) for column in (series.x, series.y, low, high)], 1)
    if is_log:
        table[:, 2] = np.where(table[:, 2] > 0, table[:, 2], table[:, 1])  # the spread may reach below zero
        table = table[(table[:, 1:] > 0).all(1)]
        table[:, 1:] = np.log(table[:, 1:])
    table = table[np.isfinite(table).all(1)]
    if len(table) > MAX_POINTS:
        table = np.stack([part.mean(0) for part in np.array_split(table, MAX_POINTS)])
    if is_log:
        table[:, 1:] = np.exp(table[:, 1:])
    return table


def _draw_curve(axes: Axes, curve: Curve) -> None:
    """Draw one chart: light axes, spread as a band. Nothing is clipped, because all points are inside the axes."""
    for number, series in enumerate(curve.series):
        x, y, low, high = _points(series, curve.is_log).T
        # The baseline is gray only where something is compared with it.
        color = LINES[(number if len(curve.series) > 1 else 1) % len(LINES)]
        marker = "o" if len(x) <= MAX_MARKERS else None
        style = {"color": color, "clip_on": False}
        axes.plot(x, y, marker=marker, markersize=4, linewidth=1.6, label=series.name, gid=f"series{number}", **style)
        if series.low is not None or series.high is not None:
            axes.fill_between(x, low, high, alpha=0.18, linewidth=0, **style)
    axes.set_title(curve.title, loc="left", fontsize=10, color=TEXT)
    axes.set_xlabel(curve.x_label, fontsize=9, color=TEXT)
    axes.tick_params(which="both", labelsize=8, labelcolor=TEXT, left=False, bottom=False)
    axes.grid(color=RULE, linewidth=0.6, clip_on=False)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(RULE)
    if curve.is_log:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    if len(curve.series) > 1:
        axes.legend(frameon=False, fontsize=8, labelcolor=TEXT)
