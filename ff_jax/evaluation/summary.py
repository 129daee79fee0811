"""Summarize the measurements of single views as the values of a table, with confidence intervals."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ff_jax.evaluation import feature_sets
from ff_jax.evaluation.benchmark import ScoreKey, ScoreTable
from ff_jax.evaluation.feature_sets import FeatureStream
from ff_jax.evaluation.view_scores import Measurements
from ff_jax.metrics import confidence, lidar_depth, nta_iou, ntl_iou
from ff_jax.metrics.confidence import Interval


class Metric(NamedTuple):
    """How a metric is shown."""

    key: str
    head: str  # of its column; ^ at the end: higher is better, _: lower is
    digits: int


MAIN = (
    Metric("psnr", "PSNR^", 2),
    Metric("ssim", "SSIM^", 3),
    Metric("lpips", "LPIPS_", 3),
    Metric("nta", "NTA-IoU^", 3),
    Metric("ntl", "NTL-IoU^", 2),
    Metric("fid", "FID_", 1),
    Metric("kid", "KID_", 3),
    Metric("reals", "real images", 0),
    Metric("fid_pooled", "FID pooled_", 1),
    Metric("eig", "EIG_", 3),
)
REGIONS = (
    *(
        Metric(f"{key}_{region}", f"{head}-{region.upper()}{better}", digits)
        for key, head, better, digits in (("psnr", "PSNR", "^", 2), ("lpips", "LPIPS", "_", 3), ("fid", "FID", "_", 1))
        for region in ("ucr", "hpr")
    ),
    Metric("ucr_share", "share of UCR", 3),
)
STRICT = (
    Metric("vehicles", "vehicles", 0),
    Metric("vehicles_strict", "vehicles strict", 0),
    Metric("nta_strict", "NTA strict^", 3),
    Metric("recall_strict", "recall^", 3),
    Metric("precision_strict", "precision^", 3),
    Metric("false_strict", "false/frame_", 2),
    Metric("lane", "lane IoU^", 2),
    Metric("background", "background", 2),
    Metric("lane_strict", "lane strict^", 2),
    Metric("depth_mae", "depth MAE [m]_", 2),
    Metric("depth_delta", "depth<1.25^", 3),
    Metric("warp", "warp_", 4),
)
_LANES = (  # key, protocol, field of `NtlScore`
    ("ntl", "ntl", "published"),
    ("lane", "ntl", "lane"),
    ("background", "ntl", "background"),
    ("lane_strict", "ntl_strict", "lane_pooled"),
)

Intervals = dict[str, Interval]  # by key of the metric


def summarize(table: ScoreTable, version: str, shift: float) -> Intervals:
    """Summarize one version at one shift; metrics that were not measured are left out.

    Intervals are bootstrapped over views. Distances between sets of features have none: a resampled set contains
    duplicates, which increase them.
    """
    measurements = table.measurements[ScoreKey(version, shift)]
    values = _frame_means(measurements.frames)
    values |= _vehicle_scores(measurements)
    values |= _lane_scores(measurements)
    values |= _geometry_scores(measurements)
    values |= _feature_distances(measurements.features, table.recorded_features, shift)
    # A mean of no value, such as the precision without a detection, was not measured.
    return {key: value for key, value in values.items() if math.isfinite(value.mean)}


def over_logs(tables: Mapping[int, ScoreTable], version: str, shift: float) -> Intervals:
    """Average the metrics that all logs have; the intervals are for another log of the same kind."""
    summaries = [summarize(table, version, shift) for table in tables.values()]
    common = [key for key in summaries[0] if all(key in values for values in summaries)]
    return {key: confidence.mean_interval([values[key].mean for values in summaries]) for key in common}


def differences(tables: Mapping[int, ScoreTable], before: str, after: str, shift: float) -> Intervals:
    """Average the differences `after` - `before` on the same log over the logs, with intervals."""
    pairs = [(summarize(table, before, shift), summarize(table, after, shift)) for table in tables.values()]
    common = [key for key in pairs[0][0] if all(key in values for pair in pairs for values in pair)]
    increases = {key: [new[key].mean - old[key].mean for old, new in pairs] for key in common}
    return {key: confidence.mean_interval(values) for key, values in increases.items()}


def pooled_distances(tables: Sequence[ScoreTable]) -> dict[ScoreKey, Intervals]:
    """Compute the distances between sets of features with all logs as one set, by version and shift."""
    recorded: dict = {}
    rendered: dict[ScoreKey, dict] = {}
    for table in tables:
        _join_streams(recorded, table.recorded_features)
        for key, measurements in table.measurements.items():
            _join_streams(rendered.setdefault(key, {}), measurements.features)
    distances = {key: _feature_distances(streams, recorded, key.shift) for key, streams in rendered.items()}
    return {key: {f"{name}_pooled": value for name, value in values.items()} for key, values in distances.items()}


def _join_streams(streams: dict, others: Mapping) -> None:
    for key, stream in others.items():
        streams[key] = feature_sets.join(streams[key], stream) if key in streams else stream


def _frame_means(frames: Sequence[Mapping[str, float]]) -> Intervals:
    keys = dict.fromkeys(key for frame in frames for key in frame if key != "time")
    columns = {key: [frame[key] for frame in frames if math.isfinite(frame.get(key, math.nan))] for key in keys}
    return {key: confidence.mean_interval(values) for key, values in columns.items() if values}


def _vehicle_scores(measurements: Measurements) -> Intervals:
    values = {}
    for name, frames in measurements.vehicles.items():
        total = nta_iou.aggregate(frames)
        if not total.ground_truths:
            continue
        values[name] = _bootstrap_over_frames(lambda rows: nta_iou.aggregate(rows).iou, frames)
        values[name.replace("nta", "vehicles")] = _without_bounds(float(total.ground_truths), total.ground_truths)
        if name == "nta_strict":
            values["recall_strict"] = _without_bounds(total.recall, len(frames))
            values["precision_strict"] = _without_bounds(total.precision, len(frames))
            values["false_strict"] = _without_bounds(total.false_positives_per_frame, len(frames))
    return values


def _lane_scores(measurements: Measurements) -> Intervals:
    values = {}
    for key, protocol, field in _LANES:
        if protocol in measurements.lanes:
            values[key] = _bootstrap_over_frames(functools.partial(_lane_score, field), measurements.lanes[protocol])
    return values


def _lane_score(field: str, rows: list[ntl_iou.LanePixelCounts]) -> float:
    return getattr(ntl_iou.aggregate(rows), field)


def _bootstrap_over_frames(statistic: Callable[[list], float], frames: Sequence) -> Interval:
    """Compute a statistic of frames with its interval from resampled frames."""
    numbers = np.arange(len(frames), dtype=float)[:, None]

    # Few frames give the same samples repeatedly, and the order of a sample does not matter.
    @functools.cache
    def of_sorted(sample: tuple[int, ...]) -> float:
        return statistic([frames[i] for i in sample])

    return confidence.bootstrap_statistic(
        lambda sample: of_sorted(tuple(np.sort(sample[:, 0]).astype(int).tolist())), numbers
    )


def _geometry_scores(measurements: Measurements) -> Intervals:
    values = {}
    if measurements.depth is not None and measurements.depth.points:
        depth = lidar_depth.aggregate([measurements.depth])
        values["depth_mae"] = _without_bounds(depth.mae, depth.count)
        values["depth_delta"] = _without_bounds(depth.delta, depth.count)
    warps = [warp.mae for warp in measurements.warps if not math.isnan(warp.mae)]
    if warps:
        values["warp"] = confidence.mean_interval(warps)
    return values


def _feature_distances(streams: Mapping[str, FeatureStream], recorded_features: Mapping, shift: float) -> Intervals:
    values = {}
    for region, stream in streams.items():
        recorded = recorded_features["all" if region == "all" else (region, shift)]
        if min(stream.sample.num_offered, recorded.sample.num_offered) < 2:
            continue
        fid = feature_sets.frechet_distance(stream, recorded)
        values["fid" if region == "all" else f"fid_{region}"] = _without_bounds(fid.value, fid.count_a)
        if region == "all":
            kid = feature_sets.kernel_distance(stream, recorded)
            values["kid"] = _without_bounds(kid.mean, kid.count_a)
            values["reals"] = _without_bounds(float(fid.count_b), fid.count_b)
    return values


def _without_bounds(value: float, count: int) -> Interval:
    return Interval(value, math.nan, math.nan, count)
