"""One set of images under other readings of every protocol: how far does a number move with what papers leave open?

The images are true views beside the path of the built-in street, blurred a little for the distances of images.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from experiments.studies.measures.degradations import blurred
from ff_jax.data.loader import load_image
from ff_jax.data.scene_data import SceneData
from ff_jax.evaluation.benchmark import Networks, with_counts
from ff_jax.evaluation.shifted_views import Target, targets
from ff_jax.export.tables import Table
from ff_jax.metrics import fid, image, lane_raster, nta_iou, ntl_iou, regions
from ff_jax.runtime.run_log import progress

BLUR = 1.5  # pixels: about as soft as a render beside the path
Values = dict[str, dict[str, Any]]  # by group and reading; the first reading of a group is ours


def measure(log: SceneData, shift: float, networks: Networks) -> Values:
    """Return every reading of every metric on one log with true images `shift` metres to the left."""
    every = targets(log, (shift,), 10**9)
    views = [target for target in every if target.shift == shift]
    true = [load_image(target.frame) for target in progress(views, f"readings of {log.name}")]
    recorded = [load_image(frame) for frame in log.frames if frame.split == "train"]
    soft = [blurred(picture, BLUR) for picture in true]
    found = {"SSIM": _ssim(soft, true)}
    if networks.inception is not None:
        found["FID"] = dict(_fid(soft, true, recorded, networks.inception))
    if networks.detector is not None:
        found["NTA-IoU"] = dict(_vehicles(log, views, true, networks))
    if networks.lanes is not None:
        found["NTL-IoU"] = dict(_lanes(log, views, true, networks))
    return found


def table(rows: Sequence[Values]) -> Table:
    """Return the readings as means over logs, and how far each is from the first of its group."""
    lines = []
    for group, readings in rows[0].items():
        base = None
        for name in readings:
            values = [row[group][name] for row in rows]
            mean = float(np.mean(values))
            base = mean if base is None else base
            lines.append((group, name, f"{mean:.4g}", f"{mean - base:+.3g}", f"{np.std(values):.2g}"))
    columns = ("metric", "reading", "value", "difference", "spread over streets")
    return Table("One set of images, other readings", columns, lines)


def _ssim(soft: list, true: list) -> Mapping[str, float]:
    mean = lambda window: float(np.mean([image.ssim(a, b, window=window) for a, b in zip(soft, true, strict=True)]))
    return {"11 x 11 Gaussian window (default)": mean("gaussian11"), "7 x 7 even window": mean("uniform7")}


def _together(inception: Any, *sides: Sequence) -> list[np.ndarray]:
    """Return the features of several sets of images, asked for at once: a group that is not full costs as much."""
    rows = inception(np.concatenate([np.stack(side) for side in sides]))
    return np.split(rows, np.cumsum([len(side) for side in sides])[:-1])


def _fid(soft: list, true: list, recorded: list, inception: Any) -> Iterator[tuple[str, float]]:
    """Measure FID of the soft images; a lower half of the image stands for a region."""
    value = lambda a, b: fid.fid_of_features(a, b).value
    rows, real, exact = _together(inception, soft, recorded, true)
    yield f"{len(soft)} renders against {len(recorded)} recorded frames (default)", value(rows, real)
    yield "against the true images of the same places", value(rows, exact)
    yield "half as many images on both sides", value(rows[::2], real[::2])
    other = replace(inception, resize="clean" if inception.resize != "clean" else "torch_fidelity")
    yield f"resized the other way ({other.resize})", value(*_together(other, soft, recorded))
    region = np.zeros(soft[0].shape[:2], bool)
    region[region.shape[0] // 2 :] = True
    for fill in (0.5, 0.0):
        pairs = [regions.masked_pair(a, b, region, fill) for a, b in zip(soft, recorded, strict=True)]
        cut, kept = _together(inception, *zip(*pairs, strict=True))
        yield f"lower half, both sides filled with {fill:g}", value(cut, kept)
        yield f"lower half, renders alone filled with {fill:g}", value(cut, real)


def _vehicles(log: SceneData, views: list[Target], true: list, networks: Networks) -> Iterator[tuple[str, float]]:
    """Measure NTA-IoU of true images against true boxes."""
    ours = nta_iou.RECONDREAMER
    readings = {
        "as released by ReconDreamer (default)": ours,
        "all classes (as released by DriveDreamer4D)": nta_iou.DRIVEDREAMER4D,
        "trucks as well": replace(ours, classes=(2, 5, 7)),
        "centres within 20 pixels": replace(ours, reach=20.0),
        "scores above 0.25": replace(ours, score=0.25),
        "images not resized": replace(ours, size=None),
        "vehicles without LiDAR points as well": replace(ours, min_points=0),
        "strict": nta_iou.STRICT,
    }
    sweeps = {sweep.time_index: sweep.load_world() for sweep in log.sweeps}
    logs = [with_counts(log, t.frame.time_index, sweeps.get(t.frame.time_index)) for t in views]
    for name, protocol in readings.items():
        scores = []
        for labelled, target, picture in zip(logs, views, true, strict=True):
            frame = target.frame
            view = (np.asarray(frame.K, float), target.pose, frame.width, frame.height)
            known = nta_iou.frame_ground_truth(labelled, frame.time_index, *view, protocol)
            scores.append(nta_iou.score_frame(nta_iou.detect(networks.detector, picture, protocol), known, protocol))
        total = nta_iou.aggregate(scores)
        yield name, total.iou
        if protocol is ours:
            yield "mean of the means of frames", total.frame_iou


def _lanes(log: SceneData, views: list[Target], true: list, networks: Networks) -> Iterator[tuple[str, float]]:
    """Measure NTL-IoU of true images against the true map."""
    ours = lane_raster.PUBLISHED
    found = [networks.lanes(picture) for picture in true]
    for name, protocol in {
        "as released (default)": ours,
        "lines 10 of 1280 pixels thick": replace(ours, thickness=10),
        "lines 30 of 1280 pixels thick": replace(ours, thickness=30),
        "segments cut, not dropped": replace(ours, exact=True),
    }.items():
        known = []
        for target in views:
            frame = target.frame
            view = (np.asarray(frame.K, float), target.pose, frame.width, frame.height)
            known.append(lane_raster.raster(log.lanes, *view, protocol))
        total = ntl_iou.aggregate(map(ntl_iou.score_frame, found, known))
        yield name, total.published
        if protocol is ours:
            yield "lane IoU alone", total.lane
            yield "background IoU alone", total.background
            blank = [np.zeros_like(lanes) for lanes in found]
            yield (
                "a network that finds no lane at all",
                ntl_iou.aggregate(map(ntl_iou.score_frame, blank, known)).published,
            )
