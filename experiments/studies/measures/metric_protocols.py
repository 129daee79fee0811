"""Measure one set of images with variants of each metric's protocol: how much does a figure depend on open choices?

The images are ground-truth views beside the path of the synthetic street, slightly blurred for image distances.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from experiments.studies.measures.degradations import blur
from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import SceneData
from ff_jax.evaluation.ground_truth import Networks, camera_of, with_counts
from ff_jax.evaluation.shifted_views import Target, targets
from ff_jax.export.tables import Table
from ff_jax.metrics import fid, image, lane_raster, nta_iou, ntl_iou, regions
from ff_jax.runtime.progress import progress

BLUR = 1.5  # pixels: about as soft as a render beside the path
Values = dict[str, dict[str, Any]]  # by metric and variant; the first variant of a metric is the default


def measure(log: SceneData, shift: float, networks: Networks) -> Values:
    """Measure all variants of all metrics on one log, with ground-truth images `shift` meters to the left."""
    views = [target for target in targets(log, (shift,), 10**9) if target.shift == shift]
    true = [load_image(target.frame) for target in progress(views, f"variants of {log.name}")]
    recorded = [load_image(frame) for frame in log.frames if frame.split == "train"]
    soft = [blur(rendered, BLUR) for rendered in true]
    values = {"SSIM": _ssim(soft, true)}
    if networks.inception is not None:
        values["FID"] = dict(_fid(soft, true, recorded, networks.inception))
    if networks.detector is not None:
        values["NTA-IoU"] = dict(_vehicles(log, views, true, networks))
    if networks.lanes is not None:
        values["NTL-IoU"] = dict(_lanes(log, views, true, networks))
    return values


def table(rows: Sequence[Values]) -> Table:
    """Tabulate means over logs, with the difference from the default of each metric."""
    lines = []
    for group, variants in rows[0].items():
        base = None
        for name in variants:
            values = [row[group][name] for row in rows]
            mean = float(np.mean(values))
            base = mean if base is None else base
            lines.append((group, name, f"{mean:.4g}", f"{mean - base:+.3g}", f"{np.std(values):.2g}"))
    columns = ("metric", "variant", "value", "difference", "spread over streets")
    return Table("One set of images, variants of protocols", columns, lines)


def _ssim(soft: list, true: list) -> Mapping[str, float]:
    def mean(window: str) -> float:
        return float(np.mean([image.ssim(a, b, window=window) for a, b in zip(soft, true, strict=True)]))

    return {"11 x 11 Gaussian window (default)": mean("gaussian11"), "7 x 7 even window": mean("uniform7")}


def _features(inception: Any, *sides: Sequence) -> list[np.ndarray]:
    """Compute the features of several sets of images in one call: an incomplete batch costs as much as a full one."""
    rows = inception(np.concatenate([np.stack(side) for side in sides]))
    return np.split(rows, np.cumsum([len(side) for side in sides])[:-1])


def _fid(soft: list, true: list, recorded: list, inception: Any) -> Iterator[tuple[str, float]]:
    """Measure FID of the blurred images; the lower half of the image serves as a region."""

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return fid.fid_of_features(a, b).value

    rows, real, exact = _features(inception, soft, recorded, true)
    yield f"{len(soft)} renders against {len(recorded)} recorded frames (default)", distance(rows, real)
    yield "against the true images of the same views", distance(rows, exact)
    yield "half as many images on both sides", distance(rows[::2], real[::2])
    other = replace(inception, resize="clean" if inception.resize != "clean" else "torch_fidelity")
    yield f"resized the other way ({other.resize})", distance(*_features(other, soft, recorded))
    region = np.zeros(soft[0].shape[:2], bool)
    region[region.shape[0] // 2 :] = True
    for fill in (0.5, 0.0):
        pairs = [regions.masked_pair(a, b, region, fill) for a, b in zip(soft, recorded, strict=True)]
        masked, masked_real = _features(inception, *zip(*pairs, strict=True))
        yield f"lower half, both sides filled with {fill:g}", distance(masked, masked_real)
        yield f"lower half, renders alone filled with {fill:g}", distance(masked, real)


def _vehicles(log: SceneData, views: list[Target], true: list, networks: Networks) -> Iterator[tuple[str, float]]:
    """Measure NTA-IoU of true images against true boxes."""
    default = nta_iou.RECONDREAMER
    variants = {
        "as released by ReconDreamer (default)": default,
        "all classes (as released by DriveDreamer4D)": nta_iou.DRIVEDREAMER4D,
        "trucks as well": replace(default, classes=(2, 5, 7)),
        "centers within 20 pixels": replace(default, max_center_distance=20.0),
        "scores above 0.25": replace(default, min_score=0.25),
        "images not resized": replace(default, image_size=None),
        "vehicles without LiDAR points as well": replace(default, min_points=0),
        "strict": nta_iou.STRICT,
    }
    sweeps = {sweep.time_index: sweep.load_world() for sweep in log.sweeps}
    logs = [with_counts(log, t.frame.time_index, sweeps.get(t.frame.time_index)) for t in views]
    for name, protocol in variants.items():
        scores = []
        for labeled, target, rendered in zip(logs, views, true, strict=True):
            truth = nta_iou.frame_ground_truth(labeled, target.frame.time_index, *camera_of(target), protocol)
            scores.append(nta_iou.score_frame(nta_iou.detect(networks.detector, rendered, protocol), truth, protocol))
        total = nta_iou.aggregate(scores)
        yield name, total.iou
        if protocol is default:
            yield "mean of the means of frames", total.frame_iou


def _lanes(log: SceneData, views: list[Target], true: list, networks: Networks) -> Iterator[tuple[str, float]]:
    """Measure NTL-IoU of true images against the true map."""
    default = lane_raster.PUBLISHED
    predictions = [networks.lanes(rendered) for rendered in true]
    for name, protocol in {
        "as released (default)": default,
        "lines 10 of 1280 pixels thick": replace(default, thickness=10),
        "lines 30 of 1280 pixels thick": replace(default, thickness=30),
        "segments cut, not dropped": replace(default, use_clipping=True),
    }.items():
        truth = [lane_raster.rasterize_lanes(log.lanes, *camera_of(target), protocol) for target in views]
        total = ntl_iou.aggregate(map(ntl_iou.score_frame, predictions, truth))
        yield name, total.published
        if protocol is default:
            yield "lane IoU alone", total.lane
            yield "background IoU alone", total.background
            blank = [np.zeros_like(lanes) for lanes in predictions]
            without = ntl_iou.aggregate(map(ntl_iou.score_frame, blank, truth)).published
            yield "a network that finds no lane at all", without
