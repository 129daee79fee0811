"""Pictures for people: labelled grids of images, before and after, charts. All return uint8 arrays."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import ArrayLike, Float, Shaped, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from ff_jax.export.image_bytes import heat, to_uint8
from ff_jax.export.records import Curve, Panel, shift_name

INK, PAPER, MUTED = (24, 28, 36), (255, 255, 255), (110, 116, 128)
LINES = ("#8a8f98", "#1f6feb", "#c2571a", "#1a7f5a", "#8250df")  # the first is the quieter baseline


def contact_sheet(
    pictures: Sequence[Sequence[object]],
    columns: Sequence[str] = (),
    rows: Sequence[str] = (),
    *,
    width: int | None = None,
    gap: int = 6,
) -> UInt8[np.ndarray, "H W 3"]:
    """Lay out pictures in a grid with a label above every column and left of every row.

    Args:
        pictures: rows of (H, W, 3) pictures, colours in [0, 1] or uint8; None leaves a place empty.
        columns: labels of the columns.
        rows: labels of the rows.
        width: pixels to which every picture is scaled; that of the first by default.
        gap: pixels between pictures.

    Raises:
        ValueError: if there is no picture, or a number of labels does not fit.
    """
    cells = [[None if p is None else Image.fromarray(to_uint8(p)) for p in row] for row in pictures]
    first = next((cell for row in cells for cell in row if cell is not None), None)
    if first is None:
        raise ValueError("a contact sheet needs at least one picture")
    across = max(len(row) for row in cells)
    if (columns and len(columns) != across) or (rows and len(rows) != len(cells)):
        raise ValueError(f"{columns=} and {rows=} must name {across} columns and {len(cells)} rows")
    cell = (width or first.width, round(first.height * (width or first.width) / first.width))
    font = ImageFont.load_default(min(max(cell[0] // 14, 11), 28))
    top = (font.size + 2 * gap) if columns else gap
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
    """Return the EIG in nats that is drawn brightest: the 99th percentile over all maps (1 without any)."""
    values = [np.asarray(m).ravel() for m in maps if m is not None]
    values = np.concatenate(values) if values else np.ones(1)
    values = values[np.isfinite(values)]
    return float(np.percentile(values, 99)) if values.size and values.max() > 0 else 1.0


def panel_sheet(
    panels: Sequence[Panel],
    names: tuple[str, ...] = ("Reconstruction only", "Fused"),
    *,
    width: int | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
    """Lay out a row per shift: before, after, ground truth and EIG on one scale, where they exist."""
    maximum = eig_scale([panel.eig for panel in panels])
    columns = [names[0], names[-1], "Ground truth", f"EIG, 0 to {maximum:.2g} nats"]
    table = [[p.before, p.after, p.truth, None if p.eig is None else heat(p.eig, maximum)] for p in panels]
    used = [j for j in range(4) if any(row[j] is not None for row in table)]
    table = [[row[j] for j in used] for row in table]
    return contact_sheet(table, [columns[j] for j in used], [shift_name(p.shift) for p in panels], width=width)


def before_after(
    before: Shaped[ArrayLike, "H W 3"],
    after: Shaped[ArrayLike, "H W 3"],
    names: tuple[str, str] = ("Reconstruction only", "Fused"),
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay two versions of a view side by side."""
    return contact_sheet([[before, after]], names)


def draw_curves(curves: Sequence[Curve], columns: int = 2, scale: float | int = 1) -> UInt8[np.ndarray, "H W 3"]:
    """Draw charts in a grid of `columns`; `scale` 1 gives 480 x 320 pixels each.

    Raises:
        ValueError: if there is no chart.
    """
    if not curves:
        raise ValueError("no curves to draw")
    columns = min(columns, len(curves))
    rows = -(-len(curves) // columns)
    figure = Figure((4.8 * columns, 3.2 * rows), dpi=100 * scale, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for index, curve in enumerate(curves):
        axes = figure.add_subplot(rows, columns, index + 1)
        _draw_curve(axes, curve)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_curve(axes: object, curve: Curve) -> None:
    """Draw one chart: quiet axes, spread as a band."""
    for number, line in enumerate(curve.series):
        # The baseline is grey only where something is compared with it.
        colour = LINES[(number if len(curve.series) > 1 else 1) % len(LINES)]
        marker = "o" if len(line.x) <= 20 else None
        axes.plot(line.x, line.y, color=colour, marker=marker, markersize=4, linewidth=1.6, label=line.name)
        if line.low is not None and line.high is not None:
            axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, linewidth=0)
    axes.set_title(curve.title, loc="left", fontsize=10)
    axes.set_xlabel(curve.x_label, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if curve.log:
        axes.set_yscale("log")
        for set_format in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            set_format("{x:g}")
        axes.tick_params(which="minor", labelsize=8)
    if len(curve.series) > 1:
        axes.legend(frameon=False, fontsize=8)
