"""What a results page and its figures show, as plain frozen records."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Float, Shaped

from ff_jax.export.tables import Table

LOWER_IS_BETTER = frozenset({"LPIPS", "FID", "FID pooled", "KID", "MAE", "RMSE", "EIG"})
Number = float | int


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: what the legend says.
        x: positions in rising order.
        y: values; those that are not finite are left out.
        low: lower rim of the spread around `y`, if any.
        high: upper rim of the spread.
    """

    name: str
    x: Sequence[Number]
    y: Sequence[Number]
    low: Sequence[Number] | None = None
    high: Sequence[Number] | None = None


@dataclass(frozen=True)
class Curve:
    """One chart: several lines over one axis.

    Attributes:
        title: what the chart shows, with its unit.
        x_label: name and unit of the horizontal axis.
        series: the lines.
        log: whether the vertical axis is logarithmic (values above zero only).
    """

    title: str
    x_label: str
    series: Sequence[Series]
    log: bool = False


@dataclass(frozen=True)
class Row:
    """Metrics at one lateral shift, by name ("PSNR", "SSIM", ...), without and with fusion.

    Attributes:
        shift: metres to the left of travel.
        before: metrics of the reconstruction only.
        after: metrics of the fused scene.
    """

    shift: Number
    before: Mapping[str, Number]
    after: Mapping[str, Number]


@dataclass(frozen=True)
class Panel:
    """The same view at one lateral shift in several versions, colours in [0, 1] or uint8.

    Attributes:
        shift: metres to the left of travel.
        before: render of the reconstruction only.
        after: render of the fused scene, if there is one.
        truth: what a camera would have seen, where it is known.
        eig: pixel-wise Expected Information Gain before fusion, nats.
        caption: what else to say, such as the frame's number.
    """

    shift: Number
    before: Shaped[ArrayLike, "H W 3"]
    after: Shaped[ArrayLike, "H W 3"] | None = None
    truth: Shaped[ArrayLike, "H W 3"] | None = None
    eig: Float[ArrayLike, "H W"] | None = None
    caption: str = ""


@dataclass(frozen=True)
class Drawing:
    """A picture with something drawn over it, colours in [0, 1] or uint8."""

    caption: str
    picture: Shaped[ArrayLike, "H W 3"]


@dataclass(frozen=True)
class Report:
    """Everything that a results page shows; parts without content are left out of the page.

    Attributes:
        title: name of the run or scene.
        subtitle: one sentence below it.
        facts: settings, versions, revision, wall time; mappings may be nested.
        rows: metrics by shift.
        panels: pictures by shift.
        curves: charts, such as loss and PSNR against step.
        video: an MP4.
        names: how the versions are called: one name, or that of the one before and the one after.
        tables: further tables, as they are.
        drawings: pictures with detections, lanes and the like.
    """

    title: str
    subtitle: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[Row] = ()
    panels: Sequence[Panel] = ()
    curves: Sequence[Curve] = ()
    video: str | Path | None = None
    names: tuple[str, ...] = ("Reconstruction only", "Fused")
    tables: Sequence[Table] = ()
    drawings: Sequence[Drawing] = ()


def shift_name(shift: Number) -> str:
    """Return a lateral shift in words, such as "3 m left"."""
    if shift == 0:
        return "recorded path"
    return f"{abs(shift):g} m {'left' if shift > 0 else 'right'}"


def metric_names(rows: Sequence[Row]) -> list[str]:
    """Return the names of all metrics in the order of their first appearance."""
    return list(dict.fromkeys(name for row in rows for name in (*row.before, *row.after)))


def metric_against_shift(title: str, samples: Mapping[str, Mapping[Number, Sequence[Number]]]) -> Curve:
    """Return the chart of a metric's mean over lateral shift, with one standard deviation as spread.

    Args:
        title: name and unit of the metric.
        samples: for every line, the values (of frames or seeds) at every shift in metres.
    """
    lines = []
    for name, by_shift in samples.items():
        shifts = sorted(by_shift)
        means = [float(np.mean(by_shift[s])) for s in shifts]
        spreads = [float(np.std(by_shift[s])) for s in shifts]
        low = [m - s for m, s in zip(means, spreads, strict=True)]
        high = [m + s for m, s in zip(means, spreads, strict=True)]
        lines.append(Series(name, shifts, means, low, high) if any(spreads) else Series(name, shifts, means))
    return Curve(title, "lateral shift, m (left is positive)", lines)


def curves_of_metrics(records: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> list[Curve]:
    """Return one chart against step for every logged metric that `names` gives a title to.

    Args:
        records: lines of `metrics.jsonl` as `ff_jax.runtime.run_log.read_metrics` returns them.
        names: title of the chart by key of the metric; a key that was never logged is left out.
    """
    curves = []
    for key, title in names.items():
        points = [(r["step"], r[key]) for r in records if key in r and math.isfinite(r[key])]
        if points:
            steps, values = zip(*points, strict=True)
            curves.append(Curve(title, "step", [Series(title, steps, values)], log="loss" in key.lower()))
    return curves
