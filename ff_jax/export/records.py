"""Records that results pages and figures draw."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import ArrayLike, Float, Shaped

from ff_jax.export.tables import Table

# Beginnings of the names of errors, distances and uncertainties.
LOWER_IS_BETTER = ("LPIPS", "FID", "KID", "MAE", "RMSE", "EIG", "LiDAR", "depth MAE", "warp", "false")
Number = float | int


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: label in the legend.
        x: positions in rising order.
        y: values; those that are not finite are left out.
        low: lower bound of the spread around `y`, if any.
        high: upper bound of the spread.
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
        title: name of the quantity, with its unit.
        x_label: name and unit of the horizontal axis.
        series: the lines.
        is_log: whether the vertical axis is logarithmic (positive values only).
    """

    title: str
    x_label: str
    series: Sequence[Series]
    is_log: bool = False


@dataclass(frozen=True)
class MetricsRow:
    """Metrics at one lateral shift, by name ("PSNR", "SSIM", ...), without and with fusion.

    Attributes:
        shift: meters to the left of travel.
        before: metrics of the reconstruction only.
        after: metrics of the fused scene.
    """

    shift: Number
    before: Mapping[str, Number]
    after: Mapping[str, Number]


@dataclass(frozen=True)
class Panel:
    """One view at one lateral shift in several versions, colors in [0, 1] or uint8.

    Attributes:
        shift: meters to the left of travel.
        before: render of the reconstruction only.
        after: render of the fused scene, if there is one.
        truth: ground-truth image, if there is one.
        eig: expected information gain per pixel before fusion, nats.
        caption: further text, such as the number of the frame.
        eig_after: EIG of the fused scene.
    """

    shift: Number
    before: Shaped[ArrayLike, "H W 3"]
    after: Shaped[ArrayLike, "H W 3"] | None = None
    truth: Shaped[ArrayLike, "H W 3"] | None = None
    eig: Float[ArrayLike, "H W"] | None = None
    caption: str = ""
    eig_after: Float[ArrayLike, "H W"] | None = None


@dataclass(frozen=True)
class Drawing:
    """A picture with annotations, colors in [0, 1] or uint8."""

    caption: str
    picture: Shaped[ArrayLike, "H W 3"]


@dataclass(frozen=True)
class Report:
    """Content of a results page; empty parts are left out.

    Attributes:
        title: name of the run or scene.
        subtitle: one sentence below it.
        facts: settings, versions, revision, wall time; mappings may be nested.
        rows: metrics by shift.
        panels: pictures by shift.
        curves: charts, such as loss and PSNR against step.
        video: an MP4.
        names: of the versions: one name, or those before and after fusion.
        tables: further tables.
        drawings: pictures with detections, lanes and the like.
        tau: EIG in nats from which on a pixel counts as uncertain; None says nothing about it.
        unit: of shifts: "m", or "units" where the meter is unknown.
        scene_page: name of the page beside this one that shows the scene in 3D; None without one.
    """

    title: str
    subtitle: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[MetricsRow] = ()
    panels: Sequence[Panel] = ()
    curves: Sequence[Curve] = ()
    video: str | Path | None = None
    names: tuple[str, ...] = ("Reconstruction only", "Fused")
    tables: Sequence[Table] = ()
    drawings: Sequence[Drawing] = ()
    tau: Number | None = None
    unit: str = "m"
    scene_page: str | None = None


def shift_name(shift: Number, unit: str = "m") -> str:
    """Format a lateral shift, such as "3 m left"; `unit` is "units" where the meter is unknown."""
    if shift == 0:
        return "recorded path"
    return f"{abs(shift):g} {unit} {'left' if shift > 0 else 'right'}"


def is_lower_better(name: str) -> bool:
    """Check whether smaller values of a metric are better."""
    return name.startswith(LOWER_IS_BETTER)


def metric_names(rows: Sequence[MetricsRow]) -> list[str]:
    """List the names of all metrics in the order of their first appearance."""
    return list(dict.fromkeys(name for row in rows for name in (*row.before, *row.after)))


def metric_curves(records: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> list[Curve]:
    """Make one chart against step for every logged metric in `names`.

    Args:
        records: lines of `metrics.jsonl` from `ff_jax.runtime.run_log.read_metrics`.
        names: titles of the charts by key of the metric; keys without a finite value are left out.
    """
    curves = []
    for key, title in names.items():
        points = [(r["step"], r[key]) for r in records if key in r and math.isfinite(r[key])]
        if points:
            steps, values = zip(*points, strict=True)
            curves.append(Curve(title, "step", [Series(title, steps, values)], is_log="loss" in key.lower()))
    return curves
