"""Compare one rendered view with its ground truth."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool

from ff_jax.data.loader import load_mask
from ff_jax.evaluation.feature_sets import FeatureStream
from ff_jax.evaluation.ground_truth import Networks, Protocols, TargetTruth, camera_of
from ff_jax.evaluation.renderers import RenderedTarget
from ff_jax.evaluation.shifted_views import Target
from ff_jax.metrics import image, lidar_depth, nta_iou, ntl_iou, temporal
from ff_jax.metrics.lpips import Lpips
from ff_jax.metrics.regions import score_region


@dataclass
class Measurements:
    """The measurements of one version at one shift."""

    frames: list[dict[str, float]] = field(default_factory=list)  # by metric; nan if it does not apply
    vehicles: dict[str, list[nta_iou.NtaFrameScore]] = field(default_factory=dict)  # by protocol
    lanes: dict[str, list[ntl_iou.LanePixelCounts]] = field(default_factory=dict)
    warps: list[temporal.WarpError] = field(default_factory=list)  # of consecutive views
    depth: lidar_depth.DepthSums | None = None
    features: dict[str, FeatureStream] = field(default_factory=dict)  # by region: "all", "ucr", "hpr"


def score_view(
    measurements: Measurements,
    truth: TargetTruth,
    rendered: RenderedTarget,
    previous: tuple[Target, RenderedTarget] | None,
    networks: Networks,
    protocols: Protocols,
) -> None:
    """Add one rendered view to the measurements; `previous` is the last view of the same version."""
    target = truth.target
    measurements.frames.append({"time": target.frame.time} | image_scores(truth, rendered, networks.lpips))
    if previous is not None and (warp := _warp_error(previous, (target, rendered))) is not None:
        measurements.warps.append(warp)
    if networks.detector is not None:
        for name, vehicles in truth.vehicles.items():
            detections = nta_iou.detect(networks.detector, rendered.rgb, protocols.vehicles[name])
            score = nta_iou.score_frame(detections, vehicles, protocols.vehicles[name])
            measurements.vehicles.setdefault(name, []).append(score)
    if networks.lanes is not None and truth.lanes:
        predicted = networks.lanes(rendered.rgb)
        for name, lanes in truth.lanes.items():
            measurements.lanes.setdefault(name, []).append(ntl_iou.score_frame(predicted, lanes))
    if rendered.depth is not None and truth.points is not None:
        sparse = lidar_depth.remove_occluded(lidar_depth.project_sweep(truth.points, *camera_of(target)))
        sums = lidar_depth.depth_sums(rendered.depth, sparse)
        measurements.depth = sums if measurements.depth is None else lidar_depth.add(measurements.depth, sums)


def image_scores(truth: TargetTruth, rendered: RenderedTarget, lpips: Lpips | None) -> dict[str, float]:
    """Compute PSNR, SSIM and LPIPS of one view, whole and by region, with its mean EIG and share of UCR."""
    scores = {} if rendered.eig is None else {"eig": float(rendered.eig.mean())}
    if truth.regions is not None:
        scores["ucr_share"] = float(truth.regions.ucr.mean())
    if truth.image is None:
        return scores
    pair = (rendered.rgb, truth.image)
    scores |= {"psnr": float(image.psnr(*pair, truth.valid)), "ssim": float(image.ssim(*pair, truth.valid))}
    regions = {} if truth.regions is None else truth.regions._asdict()
    distances = None
    if lpips is not None:
        if regions or truth.valid is not None:
            distances = np.asarray(lpips.distance_map(*pair))
        if distances is None or truth.valid is None:  # all pixels count: the published mean over each layer
            scores["lpips"] = float(lpips.distance(*pair))
        else:
            scores["lpips"] = float(image.masked_mean(distances, truth.valid))
    for name, inside in regions.items():
        inside = inside if truth.valid is None else inside & truth.valid
        region = score_region(*pair, inside, distances)._asdict()
        scores |= {f"{metric}_{name}": region[metric] for metric in ("psnr", "ssim", "lpips")}
    return scores


def _warp_error(
    previous: tuple[Target, RenderedTarget], current: tuple[Target, RenderedTarget]
) -> temporal.WarpError | None:
    """Measure the change of color on surfaces in two views; None if they are not consecutive."""
    (before, before_render), (after, after_render) = previous, current
    if before_render.depth is None or after_render.depth is None:
        return None
    if (before.shift, before.frame.camera) != (after.shift, after.frame.camera):
        return None
    if before_render.rgb.shape != after_render.rgb.shape:  # an undistorted image may have a size of its own
        return None
    return temporal.warp_error(
        before_render.rgb,
        after_render.rgb,
        before_render.depth,
        after_render.depth,
        temporal.Pinhole(*camera_of(before)[:2]),
        temporal.Pinhole(*camera_of(after)[:2]),
        _static_pixels(before),
    )


def _static_pixels(target: Target) -> Bool[np.ndarray, "H W"] | None:
    """Select the pixels that are neither sky nor moving; None without masks."""
    if not target.has_truth:
        return None
    return (load_mask(target.frame, "dynamic") < 0.5) & (load_mask(target.frame, "sky") < 0.5)
