"""The ground truth of one target view: image, EIG regions, LiDAR points, vehicles and lanes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ff_jax.data.loader import load_image, load_mask
from ff_jax.data.points.visibility import inside_box
from ff_jax.data.scene_data import SceneData, boxes_at
from ff_jax.eig.config import BENCHMARK_TAU
from ff_jax.eig.maps import Regions, split_regions
from ff_jax.evaluation.shifted_views import Target, nearest_recorded
from ff_jax.metrics import lane_raster, nta_iou
from ff_jax.metrics.detectors import Detector
from ff_jax.metrics.lane_raster import LaneProtocol, rasterize_lanes
from ff_jax.metrics.lpips import Lpips
from ff_jax.metrics.ntl_iou import LaneNetwork

Array = np.ndarray
VEHICLE_PROTOCOLS = {"nta": nta_iou.RECONDREAMER, "nta_strict": nta_iou.STRICT}
LANE_PROTOCOLS = {"ntl": lane_raster.PUBLISHED, "ntl_strict": lane_raster.STRICT}


@dataclass(frozen=True)
class Protocols:
    """The settings of the benchmark.

    Attributes:
        threshold: EIG in nats from which a pixel is under-constrained (UCR); below it is high-precision (HPR).
        vehicles: protocols of NTA-IoU, "nta" and "nta_strict" (which also gives recall, precision, false positives).
        lanes: protocols of NTL-IoU, "ntl" and "ntl_strict" (of which the lane IoU over all pixels is reported).
    """

    threshold: float = BENCHMARK_TAU
    vehicles: Mapping[str, nta_iou.NtaProtocol] = field(default_factory=lambda: VEHICLE_PROTOCOLS)
    lanes: Mapping[str, LaneProtocol] = field(default_factory=lambda: LANE_PROTOCOLS)


DEFAULT_PROTOCOLS = Protocols()
# On a growing path (`shifted_views.growing_targets`), as DriveDreamer4D scores it.
GROWING_PROTOCOLS = Protocols(vehicles={"nta": nta_iou.DRIVEDREAMER4D}, lanes={"ntl": lane_raster.PUBLISHED})


class Networks(NamedTuple):
    """The networks of the metrics; the metrics of a missing network are left out."""

    lpips: Lpips | None = None
    inception: Callable[[Array], Array] | None = None  # images (B, H, W, 3) in [0, 1] -> features (B, D)
    detector: Detector | None = None
    lanes: LaneNetwork | None = None


class TargetTruth(NamedTuple):
    """The ground truth of one target, the same for all renderers."""

    target: Target
    image: Float[Array, "H W 3"] | None
    valid: Bool[Array, "H W"] | None  # pixels to compare; None for all
    regions: Regions | None
    recorded: Float[Array, "H W 3"] | None  # the nearest recorded image, for FID within a region
    points: Float[Array, "N 3"] | None  # of the LiDAR sweeps of its time: meters, world; None without any
    vehicles: dict[str, nta_iou.GroundTruth]  # by protocol; empty without a detector or boxes
    lanes: dict[str, Bool[Array, "h w"]]  # by protocol, at the size of `lane_raster`; empty without a network or lanes


def load_truth(
    log: SceneData, target: Target, eig: Float[Array, "H W"] | None, networks: Networks, protocols: Protocols
) -> TargetTruth:
    """Load the ground truth of a target.

    Args:
        log: the driving log.
        target: the view; the masks of its frame apply only where the frame was recorded.
        eig: EIG map that splits the pixels, nats.
        networks: for the metrics that need one.
        protocols: the settings.
    """
    frame, image, valid = target.frame, None, None
    if target.has_truth:
        image = load_image(frame)
        valid = (load_mask(frame, "valid") > 0.5) & (load_mask(frame, "dynamic") < 0.5)
        valid = None if valid.all() else valid
    regions = None if eig is None else split_regions(eig, protocols.threshold)
    needs_recorded = regions is not None and networks.inception is not None
    recorded = load_image(nearest_recorded(frame, log)) if needs_recorded else None
    points = points_at(log, frame.time_index)
    with_boxes = with_counts(log, frame.time_index, points)
    camera = camera_of(target)
    vehicles, lanes = {}, {}
    if networks.detector is not None and with_boxes.boxes:
        for name, protocol in protocols.vehicles.items():
            vehicles[name] = nta_iou.frame_ground_truth(with_boxes, frame.time_index, *camera, protocol)
    if networks.lanes is not None and log.lanes:
        for name, protocol in protocols.lanes.items():
            lanes[name] = rasterize_lanes(log.lanes, *camera, protocol)
    return TargetTruth(target, image, valid, regions, recorded, points, vehicles, lanes)


def camera_of(target: Target) -> tuple[Float[Array, "3 3"], Float[Array, "4 4"], int, int]:
    """Collect K (pixels), world_from_camera (meters), width and height (pixels) of a target."""
    return np.asarray(target.frame.K, float), target.pose, target.frame.width, target.frame.height


def points_at(log: SceneData, time_index: int) -> Float[Array, "N 3"] | None:
    """Load the LiDAR points of one time: meters, world; None without a sweep."""
    sweeps = [sweep.load_world() for sweep in log.sweeps if sweep.time_index == time_index]
    return np.concatenate(sweeps) if sweeps else None


def with_counts(log: SceneData, time_index: int, points: Float[Array, "N 3"] | None) -> SceneData:
    """Restrict the boxes of a log to one time, and count their LiDAR points if the labels have no count."""
    boxes = boxes_at(log, time_index)
    if points is not None:
        boxes = tuple(
            replace(box, num_points=int(inside_box(box, points).sum())) if box.num_points < 0 else box for box in boxes
        )
    return replace(log, boxes=boxes)
