"""Score renders of a driving log, view after view: what one view costs in memory does not grow with their number.

Every version of a scene is rendered for the same views. A `Cell` holds what was measured of one version at one
shift: a few numbers per view, and the features of FID as streams.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ff_jax.data.loader import load_image, load_mask
from ff_jax.data.points.visibility import inside_box
from ff_jax.data.scene_data import SceneData, boxes_at
from ff_jax.evaluation import feature_sets
from ff_jax.evaluation.feature_sets import Features
from ff_jax.evaluation.renderers import Renderer, Rendering
from ff_jax.evaluation.shifted_views import Target, recorded_neighbour
from ff_jax.metrics import image, lidar_depth, nta_iou, ntl_iou, temporal
from ff_jax.metrics import regions as partition
from ff_jax.metrics.detectors import Detector
from ff_jax.metrics.lane_raster import PUBLISHED as PUBLISHED_LANES
from ff_jax.metrics.lane_raster import STRICT as STRICT_LANES
from ff_jax.metrics.lane_raster import LaneProtocol, raster
from ff_jax.metrics.lpips import Lpips
from ff_jax.metrics.ntl_iou import LaneNetwork

Array = np.ndarray
BATCH = 8  # pictures that go through the feature network at a time
VEHICLES = {"nta": nta_iou.RECONDREAMER, "nta_strict": nta_iou.STRICT}
LANES = {"ntl": PUBLISHED_LANES, "ntl_strict": STRICT_LANES}


@dataclass(frozen=True)
class Protocols:
    """What is left to choose.

    Attributes:
        threshold: EIG in nats from which a pixel is under-constrained (UCR); below it is high-precision (HPR).
        vehicles: protocols of NTA-IoU, "nta" and "nta_strict" (which also gives recall, precision, false positives).
        lanes: protocols of NTL-IoU, "ntl" and "ntl_strict" (of which the lane IoU over all pixels is kept).
    """

    threshold: float = 1.085
    vehicles: Mapping[str, nta_iou.Protocol] = field(default_factory=lambda: VEHICLES)
    lanes: Mapping[str, LaneProtocol] = field(default_factory=lambda: LANES)


class Networks(NamedTuple):
    """What the metrics need; without a network its metrics are left out."""

    lpips: Lpips | None = None
    inception: Callable[[Array], Array] | None = None  # images (B, H, W, 3) in [0, 1] -> features (B, D)
    detector: Detector | None = None
    lanes: LaneNetwork | None = None


@dataclass
class Cell:
    """What was measured of one version at one shift."""

    frames: list[dict[str, float]] = field(default_factory=list)  # by metric; nan where it does not apply
    vehicles: dict[str, list[nta_iou.FrameScore]] = field(default_factory=dict)  # by protocol
    lanes: dict[str, list[ntl_iou.FrameScore]] = field(default_factory=dict)
    warps: list[temporal.WarpError] = field(default_factory=list)  # between views that follow each other
    depth: lidar_depth.DepthSums | None = None
    features: dict[str, Features] = field(default_factory=dict)  # by region: "all", "ucr", "hpr"


@dataclass
class Board:
    """All that was measured on one log.

    Attributes:
        cells: by version and shift (metres).
        real: features of the recorded frames that trained the scene: of all of them ("all"), and of those nearest to
            the views of a shift within a region of the EIG map, by region and shift.
    """

    cells: dict[tuple[str, float], Cell] = field(default_factory=dict)
    real: dict[str | tuple[str, float], Features] = field(default_factory=dict)


class Truth(NamedTuple):
    """What is known about one view, whoever rendered it."""

    target: Target
    image: Float[Array, "H W 3"] | None
    valid: Array | None  # (H, W) bool: pixels that count; None counts all
    regions: partition.Regions | None
    recorded: Float[Array, "H W 3"] | None  # the nearest recorded image, for FID within a region
    points: Float[Array, "N 3"] | None  # of the LiDAR sweeps of its time: metres, world; None without any
    vehicles: dict[str, nta_iou.GroundTruth]  # by protocol; none without a detector or boxes
    lanes: dict[str, Bool[Array, "h w"]]  # by protocol, at the size of `lane_raster`; none without a network or lanes


def score_log(
    log: SceneData,
    targets: Iterable[Target],
    renderers: Mapping[str, Renderer],
    networks: Networks,
    protocols: Protocols = Protocols(),
) -> Board:
    """Score every version at every view.

    Args:
        log: the driving log: its boxes, lanes, sweeps and recorded frames are what renders are held against.
        targets: the views; those of one shift and camera in order of time.
        renderers: by name of the version. The first one that knows its EIG splits the pixels of all versions: one
            fixed map, or a method could gain by moving pixels from one region to the other.
        networks: for the metrics that need one.
        protocols: what else there is to choose.
    """
    board = Board()
    queue = Queue(networks.inception)
    for frame in log.frames if networks.inception is not None else ():
        if frame.split == "train":
            queue = queue.add(board.real, "all", load_image(frame))
    last: dict[str, tuple[Target, Rendering]] = {}
    for target in targets:
        seen = {name: render(target) for name, render in renderers.items()}
        gain = next((rendering.eig for rendering in seen.values() if rendering.eig is not None), None)
        truth = truth_of(log, target, gain, networks, protocols)
        for name, rendering in seen.items():
            cell = board.cells.setdefault((name, target.shift), Cell())
            score_view(cell, truth, rendering, last.get(name), networks, protocols)
            last[name] = (target, rendering)
        if networks.inception is not None:
            queue = _queue_view(queue, board, truth, seen)
    queue.flush()
    return board


def truth_of(log: SceneData, target: Target, gain: Array | None, networks: Networks, protocols: Protocols) -> Truth:
    """Return what is known about a view; masks of a frame hold only where it was taken."""
    frame, known, valid = target.frame, None, None
    if target.has_truth:
        known = load_image(frame)
        valid = (load_mask(frame, "valid") > 0.5) & (load_mask(frame, "dynamic") < 0.5)
        valid = None if valid.all() else valid
    regions = None if gain is None else partition.regions(gain, protocols.threshold)
    split = regions is not None and networks.inception is not None
    recorded = load_image(recorded_neighbour(frame, log)) if split else None
    points = points_at(log, frame.time_index)
    labelled = with_counts(log, frame.time_index, points)
    vehicles, lanes = {}, {}
    if networks.detector is not None and labelled.boxes:
        find = partial(nta_iou.frame_ground_truth, labelled, frame.time_index, *camera_of(target))
        vehicles = {name: find(protocol) for name, protocol in protocols.vehicles.items()}
    if networks.lanes is not None and log.lanes:
        lanes = {name: raster(log.lanes, *camera_of(target), protocol) for name, protocol in protocols.lanes.items()}
    return Truth(target, known, valid, regions, recorded, points, vehicles, lanes)


def camera_of(target: Target) -> tuple[Float[Array, "3 3"], Float[Array, "4 4"], int, int]:
    """Return K (pixels), the pose world_from_camera (metres), width and height (pixels) of a view."""
    return np.asarray(target.frame.K, float), target.pose, target.frame.width, target.frame.height


def points_at(log: SceneData, time_index: int) -> Float[Array, "N 3"] | None:
    """Return the LiDAR points of one time: metres, world; None without a sweep."""
    sweeps = [sweep.load_world() for sweep in log.sweeps if sweep.time_index == time_index]
    return np.concatenate(sweeps) if sweeps else None


def with_counts(log: SceneData, time_index: int, points: Float[Array, "N 3"] | None) -> SceneData:
    """Return the log with the boxes of one time, their LiDAR points counted where the labels do not tell."""
    boxes = boxes_at(log, time_index)
    if points is not None:
        count = lambda box: int(inside_box(box, points).sum()) if box.num_points < 0 else box.num_points
        boxes = tuple(replace(box, num_points=count(box)) for box in boxes)
    return replace(log, boxes=boxes)


def score_view(
    cell: Cell,
    truth: Truth,
    rendering: Rendering,
    before: tuple[Target, Rendering] | None,
    networks: Networks,
    protocols: Protocols,
) -> None:
    """Add one rendered view to a cell; `before` is the version's view before it."""
    target = truth.target
    cell.frames.append({"time": target.frame.time} | image_scores(truth, rendering, networks.lpips))
    if before is not None and (warp := _warp(*before, target, rendering)) is not None:
        cell.warps.append(warp)
    for name, known in truth.vehicles.items():
        found = nta_iou.detect(networks.detector, rendering.rgb, protocols.vehicles[name])
        cell.vehicles.setdefault(name, []).append(nta_iou.score_frame(found, known, protocols.vehicles[name]))
    found = networks.lanes(rendering.rgb) if truth.lanes else None
    for name, known in truth.lanes.items():
        cell.lanes.setdefault(name, []).append(ntl_iou.score_frame(found, known))
    if rendering.depth is not None and truth.points is not None:
        measured = lidar_depth.visible(lidar_depth.project_sweep(truth.points, *camera_of(target)))
        found = lidar_depth.sums(rendering.depth, measured)
        cell.depth = found if cell.depth is None else lidar_depth.add(cell.depth, found)


def image_scores(truth: Truth, rendering: Rendering, lpips: Lpips | None) -> dict[str, float]:
    """Return PSNR, SSIM and LPIPS of one view, whole and by region, and its mean EIG and share of UCR."""
    row = {} if rendering.eig is None else {"eig": float(rendering.eig.mean())}
    if truth.regions is not None:
        row["ucr_share"] = float(truth.regions.ucr.mean())
    if truth.image is None:
        return row
    pair = (rendering.rgb, truth.image)
    row |= {"psnr": float(image.psnr(*pair, truth.valid)), "ssim": float(image.ssim(*pair, truth.valid))}
    split = {} if truth.regions is None else truth.regions._asdict()
    perceptual = None
    if lpips is not None and (split or truth.valid is not None):
        perceptual = np.asarray(lpips.distance_map(*pair))
    if lpips is not None:  # the published mean over each layer, where all pixels count
        whole = lpips.distance(*pair) if truth.valid is None else image.masked_mean(perceptual, truth.valid)
        row["lpips"] = float(whole)
    for name, inside in split.items():
        inside = inside if truth.valid is None else inside & truth.valid
        found = partition.score_region(*pair, inside, perceptual)._asdict()
        row |= {f"{metric}_{name}": found[metric] for metric in ("psnr", "ssim", "lpips")}
    return row


def _warp(earlier: Target, last: Rendering, target: Target, rendering: Rendering) -> temporal.WarpError | None:
    """Return how much the colours of what two views in a row see change; None if they are not in a row."""
    if last.depth is None or rendering.depth is None:
        return None
    if (earlier.shift, earlier.frame.camera) != (target.shift, target.frame.camera):
        return None
    place = lambda one: temporal.Pinhole(np.asarray(one.frame.K, float), one.pose)
    depths = (last.depth, rendering.depth)
    return temporal.warp_error(last.rgb, rendering.rgb, *depths, place(earlier), place(target), _still(earlier))


def _still(target: Target) -> Array | None:
    """Return the pixels of a view that are neither sky nor moving, where masks tell."""
    if not target.has_truth:
        return None
    return (load_mask(target.frame, "dynamic") < 0.5) & (load_mask(target.frame, "sky") < 0.5)


class Queue(NamedTuple):
    """Pictures that wait for the feature network, which takes several at a time."""

    network: Callable[[Array], Array] | None
    waiting: tuple[tuple[dict, object, Array], ...] = ()  # streams, key of the stream, picture

    def add(self, streams: dict, key: object, picture: Array) -> "Queue":
        """Return the queue with one more picture; a full one is sent through the network."""
        if self.waiting and self.waiting[0][2].shape != picture.shape:
            self.flush()
            return Queue(self.network, ((streams, key, picture),))
        queue = self._replace(waiting=(*self.waiting, (streams, key, picture)))
        return queue if len(queue.waiting) < BATCH else queue.flush()

    def flush(self) -> "Queue":
        """Add the features of all waiting pictures to their streams, and return the empty queue."""
        if self.waiting:
            rows = self.network(np.stack([picture for _, _, picture in self.waiting]))
            for (streams, key, _), row in zip(self.waiting, rows, strict=True):
                stream = streams[key] if key in streams else feature_sets.start(len(row))
                streams[key] = feature_sets.extend(stream, row[None])
        return Queue(self.network)


def _queue_view(queue: Queue, board: Board, truth: Truth, seen: Mapping[str, Rendering]) -> Queue:
    """Queue one view for FID: whole, and within each region together with the recorded image cut the same way."""
    shift = truth.target.shift
    split = {} if truth.regions is None else truth.regions._asdict()
    for number, (name, rendering) in enumerate(seen.items()):
        streams = board.cells[name, shift].features
        queue = queue.add(streams, "all", rendering.rgb)
        for region, inside in split.items():
            render, recorded = partition.masked_pair(rendering.rgb, truth.recorded, inside)
            queue = queue.add(streams, region, render)
            queue = queue if number else queue.add(board.real, (region, shift), recorded)
    return queue
