"""From what was measured view by view to the numbers of a table, with intervals."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ff_jax.evaluation import feature_sets
from ff_jax.evaluation.benchmark import Board, Cell
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
_PARTS = (("psnr", "PSNR", "^", 2), ("lpips", "LPIPS", "_", 3), ("fid", "FID", "_", 1))
REGIONS = (
    *(
        Metric(f"{key}_{part}", f"{head}-{part.upper()}{way}", d)
        for key, head, way, d in _PARTS
        for part in ("ucr", "hpr")
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

Values = dict[str, Interval]


def summarize(board: Board, version: str, shift: float) -> Values:
    """Return the numbers of one version at one shift; metrics that were not measured are left out.

    Intervals are bootstrapped over views. Distances between sets of features have none: a resampled set has
    duplicates, which raise them.
    """
    cell = board.cells[version, shift]
    found = _per_view(cell) | _of_vehicles(cell) | _of_lanes(cell) | _of_geometry(cell) | _of_sets(board, cell, shift)
    # Nothing to average, such as the precision without a detection: not measured.
    return {key: value for key, value in found.items() if math.isfinite(value.mean)}


def over_seeds(boards: Mapping[int, Board], version: str, shift: float) -> Values:
    """Return the means over several logs of what all of them have, with intervals for another log of the kind."""
    each = [summarize(board, version, shift) for board in boards.values()]
    shared = [key for key in each[0] if all(key in values for values in each)]
    return {key: confidence.mean_interval([values[key].mean for values in each]) for key in shared}


def differences(boards: Mapping[int, Board], before: str, after: str, shift: float) -> Values:
    """Return by how much `after` exceeds `before` on the same log, as means over logs with intervals."""
    pairs = [(summarize(board, before, shift), summarize(board, after, shift)) for board in boards.values()]
    shared = [key for key in pairs[0][0] if all(key in values for pair in pairs for values in pair)]
    rise = {key: [new[key].mean - old[key].mean for old, new in pairs] for key in shared}
    return {key: confidence.mean_interval(values) for key, values in rise.items()}


def pooled(boards: Sequence[Board]) -> dict[tuple[str, float], Values]:
    """Return the distances between sets of features with all logs as one set, by version and shift."""
    whole = Board()
    for board in boards:
        _join(whole.real, board.real)
        for key, cell in board.cells.items():
            _join(whole.cells.setdefault(key, Cell()).features, cell.features)
    found = {key: _of_sets(whole, cell, key[1]) for key, cell in whole.cells.items()}
    return {key: {f"{name}_pooled": value for name, value in values.items()} for key, values in found.items()}


def _join(mine: dict, theirs: dict) -> None:
    for key, stream in theirs.items():
        mine[key] = feature_sets.join(mine[key], stream) if key in mine else stream


def _column(frames: Sequence[Mapping[str, float]], key: str) -> list[float]:
    values = [frame.get(key, math.nan) for frame in frames]
    return [value for value in values if math.isfinite(value)]


def _per_view(cell: Cell) -> Values:
    keys = dict.fromkeys(key for frame in cell.frames for key in frame if key != "time")
    columns = {key: _column(cell.frames, key) for key in keys}
    return {key: confidence.mean_interval(values) for key, values in columns.items() if values}


def _of_vehicles(cell: Cell) -> Values:
    out = {}
    for name, frames in cell.vehicles.items():
        total = nta_iou.aggregate(frames)
        if total.ground_truths:
            out[name] = _over_frames(lambda rows: nta_iou.aggregate(rows).iou, frames)
            out[name.replace("nta", "vehicles")] = _plain(float(total.ground_truths), total.ground_truths)
        if total.ground_truths and name == "nta_strict":
            out["recall_strict"] = _plain(total.recall, len(frames))
            out["precision_strict"] = _plain(total.precision, len(frames))
            out["false_strict"] = _plain(total.false_positives_per_frame, len(frames))
    return out


def _of_lanes(cell: Cell) -> Values:
    named = {"ntl": ("ntl", "published"), "lane": ("ntl", "lane"), "background": ("ntl", "background")}
    named["lane_strict"] = ("ntl_strict", "lane_pooled")
    out = {}
    for key, (protocol, attribute) in named.items():
        if protocol in cell.lanes:
            measure = lambda rows, attribute=attribute: getattr(ntl_iou.aggregate(rows), attribute)
            out[key] = _over_frames(measure, cell.lanes[protocol])
    return out


def _over_frames(statistic: Callable[[list], float], frames: Sequence) -> Interval:
    """Return a statistic of frames with the interval from drawing them anew."""
    numbers = np.arange(len(frames), dtype=float)[:, None]
    # Of few frames the same are drawn again and again, and in which order does not matter.
    known = functools.cache(lambda drawn: statistic([frames[i] for i in drawn]))
    return confidence.resampled(lambda drawn: known(tuple(np.sort(drawn[:, 0]).astype(int).tolist())), numbers)


def _of_geometry(cell: Cell) -> Values:
    out = {}
    if cell.depth is not None and cell.depth.points:
        found = lidar_depth.aggregate([cell.depth])
        out |= {"depth_mae": _plain(found.mae, found.count), "depth_delta": _plain(found.delta, found.count)}
    seen = [warp.mae for warp in cell.warps if not math.isnan(warp.mae)]
    if seen:
        out["warp"] = confidence.mean_interval(seen)
    return out


def _of_sets(board: Board, cell: Cell, shift: float) -> Values:
    out = {}
    for region, stream in cell.features.items():
        real = board.real["all" if region == "all" else (region, shift)]
        if min(stream.sample.seen, real.sample.seen) < 2:
            continue
        end = "" if region == "all" else f"_{region}"
        found = feature_sets.distance(stream, real)
        out["fid" + end] = _plain(found.value, found.count_a)
        if region == "all":
            kernel = feature_sets.kernel_distance(stream, real)
            out["kid"] = _plain(kernel.mean, kernel.count_a)
            out["reals"] = _plain(float(found.count_b), found.count_b)
    return out


def _plain(value: float, count: int) -> Interval:
    return Interval(value, math.nan, math.nan, count)
