"""Line charts as SVG that take their colours from the page around them (classes `s0`, `s1`, ...)."""

import html
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.ticker import LogLocator, MaxNLocator

from ff_jax.export.records import Curve, Series

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 12, 42
MAX_POINTS = 300  # more than the chart has pixels only makes the page heavy


def line_chart(curve: Curve) -> str:
    """Return a chart as one `<svg>` element; lines without a finite value are left out."""
    lines = [_points(series, curve.log) for series in curve.series]
    drawn = np.concatenate([line for line in lines if line.size] or [np.array([[0, 0, 0, 0], [1, 1, 1, 1.0]])])
    x_range = _widened(drawn[:, 0].min(), drawn[:, 0].max(), 0.0)
    y_range = _widened(drawn[:, 2].min(), drawn[:, 3].max(), 0.05)

    def place(x: Float[np.ndarray, "n"], y: Float[np.ndarray, "n"]) -> list[tuple[float, float]]:
        u = LEFT + (x - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - LEFT - RIGHT)
        v = HEIGHT - BOTTOM - (y - y_range[0]) / (y_range[1] - y_range[0]) * (HEIGHT - TOP - BOTTOM)
        return list(zip(u.round(1).tolist(), v.round(1).tolist(), strict=True))

    parts = list(_axes(curve, x_range, y_range, place))
    for number, (series, line) in enumerate(zip(curve.series, lines, strict=True)):
        # The first class is the quiet baseline; a line on its own is not one.
        style = f"s{number if len(curve.series) > 1 else 1}"
        parts += _line(series, line, style, curve.log, place)
    label = html.escape(f"{curve.title} against {curve.x_label}")
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _points(series: Series, log: bool) -> Float[np.ndarray, "n 4"]:
    """Return x, y, low and high of a line, finite, thinned by averaging, and in log10 where `log`."""
    low = series.y if series.low is None else series.low
    high = series.y if series.high is None else series.high
    table = np.stack([np.asarray(c, np.float64) for c in (series.x, series.y, low, high)], 1)
    if log:
        table[:, 2] = np.where(table[:, 2] > 0, table[:, 2], table[:, 1])  # a spread may reach below zero
        with np.errstate(divide="ignore", invalid="ignore"):
            table[:, 1:] = np.log10(table[:, 1:])
    table = table[np.isfinite(table).all(1)]
    if len(table) > MAX_POINTS:
        table = np.stack([part.mean(0) for part in np.array_split(table, MAX_POINTS)])
    return table


def _widened(low: float, high: float, margin: float) -> tuple[float, float]:
    """Return a range that is never empty, widened by `margin` of its length."""
    if high - low < 1e-12 * max(abs(low), abs(high), 1e-12):
        low, high = low - 0.5 * max(abs(low), 1e-3), high + 0.5 * max(abs(high), 1e-3)
    return float(low - margin * (high - low)), float(high + margin * (high - low))


def _ticks(low: float, high: float, log: bool) -> list[tuple[float, str]]:
    """Return places and labels of at most about six round numbers within a range."""
    if log:
        values = LogLocator(subs=(1, 2, 5) if high - low < 2.5 else (1,)).tick_values(10**low, 10**high)
        ticks = [(math.log10(v), f"{v:.4g}") for v in values]
    else:
        ticks = [(float(v), f"{v:.6g}") for v in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)]
    return [(place, label) for place, label in ticks if low <= place <= high]


def _axes(curve: Curve, x_range: tuple, y_range: tuple, place: Callable) -> Iterator[str]:
    """Yield grid, tick labels and the name of the horizontal axis."""
    bottom = HEIGHT - BOTTOM
    for value, label in _ticks(*y_range, curve.log):
        ((_, v),) = place(np.array([x_range[0]]), np.array([value]))
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{v}" y2="{v}"/>'
        yield f'<text x="{LEFT - 8}" y="{v + 4}" text-anchor="end">{label}</text>'
    for value, label in _ticks(*x_range, False):
        ((u, _),) = place(np.array([value]), np.array([y_range[0]]))
        yield f'<text x="{u}" y="{bottom + 18}" text-anchor="middle">{label}</text>'
    yield f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{html.escape(curve.x_label)}</text>'


def _line(series: Series, line: Float[np.ndarray, "n 4"], style: str, log: bool, place: Callable) -> Iterator[str]:
    """Yield spread, line and, where there are few, points that show their value when pointed at."""
    if not line.size:
        return
    points = place(line[:, 0], line[:, 1])
    if series.low is not None or series.high is not None:
        rim = place(line[:, 0], line[:, 3]) + place(line[:, 0], line[:, 2])[::-1]
        yield f'<polygon class="band {style}" points="{_joined(rim)}"/>'
    yield f'<polyline class="line {style}" points="{_joined(points)}"/>'
    if len(points) <= 25:
        for (u, v), (x, y) in zip(points, line[:, :2], strict=True):
            value = 10**y if log else y
            hint = f"{html.escape(series.name)}: {value:.4g} at {x:g}"
            yield f'<circle class="dot {style}" cx="{u}" cy="{v}" r="4"><title>{hint}</title></circle>'


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{u:g},{v:g}" for u, v in points)
