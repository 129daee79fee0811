"""Compute NTA-IoU: IoU between labeled vehicles and the detections in a rendered frame.

Source: novel trajectory agent IoU of DriveDreamer4D (arXiv 2410.13571) and ReconDreamer (arXiv 2411.19548), after their
released evaluation code. Vehicles of the log are projected to the shifted camera; the score of each is its IoU with the
matching detection, 0 without one.

A frame takes three calls: `frame_ground_truth`, `detect`, `score_frame`; `aggregate` summarizes all frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image, ImageDraw
from scipy.optimize import linear_sum_assignment

from ff_jax.data.boxes import occluded_share, project_boxes
from ff_jax.data.scene_data import SceneData, boxes_at
from ff_jax.metrics.detectors import Detections, Detector, box_iou, suppress_non_maxima
from ff_jax.runtime.resize import resize_bilinear

Array = np.ndarray

MIN_MATCH_IOU = 0.1  # smallest IoU of a match by IoU
TRUE_POSITIVE_IOU = 0.5  # smallest IoU of a true positive
MIN_IGNORED_SHARE = 0.5  # a detection with this share inside an ignored vehicle is no false positive


@dataclass(frozen=True)
class NtaProtocol:
    """Which vehicles and detections count, and how they are matched.

    A vehicle that does not count is ignored: it may be missed, and detections of it are no false positives.
    """

    name: str
    classes: tuple[int, ...] | None  # of COCO; None takes all
    min_score: float  # detections must score more
    merge_iou: float | None  # IoU above which detections of any class are one vehicle; None merges none
    image_size: tuple[int, int] | None  # width, height to resize the frame to; None keeps its size
    use_whole_pixels: bool  # truncate coordinates of ground truth and detections to integers
    min_points: int  # LiDAR points in a vehicle; an unknown count (-1) passes
    min_inside_share: float  # share of a vehicle's box inside the image; the rest is clipped
    max_occluded_share: float  # share of a vehicle behind nearer boxes; 1 disables the test
    min_height_share: float  # height of a vehicle and of a false positive, as a share of the image height
    max_center_distance: float | None  # pixels to the nearest detection center, shared or not; None matches by IoU


# As released: every vehicle takes the nearest detection, which may match many, and false positives cost nothing. The
# released code drops labels behind the recorded camera; here a box must be in front of the shifted one.
RECONDREAMER = NtaProtocol(
    name="recondreamer",
    classes=(2, 5),  # car, bus; the ground truth includes trucks
    min_score=0.5,
    merge_iou=None,
    image_size=(480, 320),
    use_whole_pixels=True,
    min_points=10,
    min_inside_share=1.0,
    max_occluded_share=1.0,
    min_height_share=0.0,
    max_center_distance=10.0,
)
DRIVEDREAMER4D = replace(RECONDREAMER, name="drivedreamer4d", classes=None)
STRICT = NtaProtocol(
    name="strict",
    classes=(2, 5, 7),  # car, bus, truck
    min_score=0.25,  # default of the detectors; false positives are counted
    merge_iou=0.5,  # a van detected as car and as truck is one vehicle
    image_size=None,
    use_whole_pixels=False,
    min_points=6,  # Waymo's level 1 has more than five
    min_inside_share=0.5,
    max_occluded_share=0.5,
    min_height_share=0.05,  # a car some 50 m in front of a Waymo camera
    max_center_distance=None,
)


class GroundTruth(NamedTuple):
    """Vehicles of one frame as boxes (left, top, right, bottom) in pixels of an image of `width` x `height`."""

    boxes: Float[Array, "G 4"]
    ignored: Float[Array, "I 4"]  # vehicles that do not count, clipped to the image
    tracks: tuple[str, ...]  # of `boxes`
    width: int
    height: int


class NtaFrameScore(NamedTuple):
    """Matches between detections and vehicles of one frame."""

    ious: Float[Array, "G"]  # 0 for a vehicle without a match
    matches: Int[Array, "G"]  # detection of each vehicle, -1 for none
    true_positives: Bool[Array, "K"]  # detections with an IoU of at least TRUE_POSITIVE_IOU
    false_positives: Bool[Array, "K"]  # the rest, without those in ignored vehicles and small ones


class NtaScore(NamedTuple):
    """Scores over frames; NaN for a mean of no value."""

    iou: float  # published: mean over all vehicles of all frames
    frame_iou: float  # mean over frames (that have vehicles) of their means
    recall: float  # share of the vehicles with an IoU of at least TRUE_POSITIVE_IOU
    precision: float  # true positives / (true + false positives)
    false_positives_per_frame: float
    ground_truths: int
    detections: int  # true and false positives
    frames: int


def frame_ground_truth(
    log: SceneData,
    time_index: int,
    K: Float[Array, "3 3"],
    world_from_camera: Float[Array, "4 4"],
    width: int,
    height: int,
    protocol: NtaProtocol,
    depth: Float[Array, "height width"] | None = None,
) -> GroundTruth:
    """Project the vehicles of the log at `time_index` into a pinhole camera, at the image size of the protocol.

    Args:
        log: all its boxes at that time can occlude a vehicle.
        time_index: index into the times of the log.
        K: intrinsics of an image of `width` x `height`.
        world_from_camera: pose of the rendered camera, OpenCV axes, meters.
        width: of the frame, pixels.
        height: of the frame, pixels.
        protocol: which vehicles count.
        depth: camera z of the frame, meters; adds occlusion by other things than boxes. Used only if the protocol tests
            occlusion.
    """
    labels = boxes_at(log, time_index)
    poses = np.array([box.world_from_object for box in labels]).reshape(-1, 4, 4)
    sizes = np.array([box.size for box in labels]).reshape(-1, 3)
    view = (K, world_from_camera, width, height)
    occluded = np.zeros(len(labels)) if protocol.max_occluded_share >= 1 else occluded_share(poses, sizes, *view, depth)
    projected = project_boxes(poses, sizes, *view)
    new_width, new_height = protocol.image_size or (width, height)
    hulls = projected.hulls * np.array([new_width / width, new_height / height] * 2)
    if protocol.use_whole_pixels:
        hulls = np.trunc(hulls)
    boxes = np.clip(hulls, 0, [new_width, new_height] * 2)
    # A box without area may lie in the image; NaN, behind the camera, compares as false.
    inside = np.where((boxes == hulls).all(1), 1.0, _area(boxes) / np.maximum(_area(hulls), 1e-9))
    is_vehicle = np.array([box.category == "vehicle" for box in labels], bool)
    has_points = np.array([not 0 <= box.num_points < protocol.min_points for box in labels], bool)
    is_tall = boxes[:, 3] - boxes[:, 1] >= protocol.min_height_share * new_height
    is_whole = projected.in_front if protocol.min_inside_share >= 1 else np.ones(len(labels), bool)
    is_visible = (inside >= protocol.min_inside_share) & (occluded <= protocol.max_occluded_share)
    counts = is_vehicle & has_points & is_tall & is_whole & is_visible
    ignored = is_vehicle & ~counts & projected.partly_inside
    tracks = tuple(box.track_id for box, count in zip(labels, counts, strict=True) if count)
    return GroundTruth(boxes[counts], boxes[ignored], tracks, new_width, new_height)


def detect(detector: Detector, image: Float[Array, "H W 3"], protocol: NtaProtocol) -> Detections:
    """Detect vehicles as the protocol states, in pixels of its image size."""
    if protocol.image_size is not None:
        image = resize_bilinear(image, protocol.image_size[1], protocol.image_size[0])
    detections = detector(image)
    selected = detections.scores > protocol.min_score
    if protocol.classes is not None:
        selected &= np.isin(detections.classes, protocol.classes)
    detections = Detections(*(values[selected] for values in detections))
    if protocol.merge_iou is not None:
        detections = suppress_non_maxima(detections, protocol.merge_iou, across_classes=True)
    return detections._replace(boxes=np.trunc(detections.boxes)) if protocol.use_whole_pixels else detections


def score_frame(detections: Detections, truth: GroundTruth, protocol: NtaProtocol) -> NtaFrameScore:
    """Match the detections (of `detect`) with the vehicles of one frame."""
    boxes = np.asarray(detections.boxes, float)
    iou = box_iou(truth.boxes, boxes)
    distance = protocol.max_center_distance
    matches = _match_by_iou(iou) if distance is None else _match_by_center(truth.boxes, boxes, distance)
    matched = np.flatnonzero(matches >= 0)
    ious = np.zeros(len(matches))
    ious[matched] = iou[matched, matches[matched]]
    true_positives = np.zeros(len(boxes), bool)
    true_positives[matches[ious >= TRUE_POSITIVE_IOU]] = True
    is_tall = boxes[:, 3] - boxes[:, 1] >= protocol.min_height_share * truth.height
    return NtaFrameScore(ious, matches, true_positives, ~true_positives & is_tall & ~_is_ignored(boxes, truth.ignored))


def aggregate(frames: Sequence[NtaFrameScore]) -> NtaScore:
    """Summarize the frames of one clip or of many."""
    ious = np.concatenate([np.zeros(0), *(frame.ious for frame in frames)])
    num_true = sum(int(frame.true_positives.sum()) for frame in frames)
    num_false = sum(int(frame.false_positives.sum()) for frame in frames)
    return NtaScore(
        iou=_mean(ious),
        frame_iou=_mean(np.array([frame.ious.mean() for frame in frames if len(frame.ious)])),
        recall=_mean(ious >= TRUE_POSITIVE_IOU),
        precision=num_true / (num_true + num_false) if num_true + num_false else np.nan,
        false_positives_per_frame=num_false / len(frames) if frames else np.nan,
        ground_truths=len(ious),
        detections=num_true + num_false,
        frames=len(frames),
    )


def draw(
    image: Float[Array, "H W 3"], detections: Detections, truth: GroundTruth, score: NtaFrameScore
) -> Float[Array, "H W 3"]:
    """Draw the boxes over the image.

    Vehicles are green, ignored ones gray; matched detections blue with their IoU, false positives red, other detections
    orange.
    """
    picture = Image.fromarray(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    scale = np.array([image.shape[1] / truth.width, image.shape[0] / truth.height] * 2)
    line = max(1, round(image.shape[1] / 640))

    def draw_box(box: Float[Array, "4"], color: str, text: str = "") -> None:
        left, top, right, bottom = box * scale
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=color, width=line)
        pen.text((left + 2 * line, top + line), text, fill=color, font_size=12 * line)

    for box in truth.ignored:
        draw_box(box, "gray")
    for box in truth.boxes:
        draw_box(box, "lime")
    for k, box in enumerate(detections.boxes):
        ious = score.ious[score.matches == k]
        color = "dodgerblue" if len(ious) else "red" if score.false_positives[k] else "orange"
        draw_box(box, color, f"{ious.max():.2f}" if len(ious) else "")
    return np.asarray(picture, np.float32) / 255


def _match_by_center(truth: Float[Array, "G 4"], boxes: Float[Array, "K 4"], distance: float) -> Int[Array, "G"]:
    """Match each vehicle with the detection of the nearest center, if it is nearer than `distance`; -1 otherwise."""
    if not len(boxes):
        return np.full(len(truth), -1)
    distances = np.linalg.norm(_centers(truth)[:, None] - _centers(boxes)[None], axis=-1)
    return np.where(distances.min(1) < distance, distances.argmin(1), -1)


def _centers(boxes: Float[Array, "N 4"]) -> Float[Array, "N 2"]:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _match_by_iou(iou: Float[Array, "G K"]) -> Int[Array, "G"]:
    """Find the one-to-one matching of the largest sum of IoU; -1 without an overlap of MIN_MATCH_IOU."""
    matches = np.full(iou.shape[0], -1)
    iou = np.where(iou >= MIN_MATCH_IOU, iou, 0.0)
    rows, columns = linear_sum_assignment(iou, maximize=True)
    overlapping = iou[rows, columns] > 0
    matches[rows[overlapping]] = columns[overlapping]
    return matches


def _is_ignored(boxes: Float[Array, "K 4"], ignored: Float[Array, "I 4"]) -> Bool[Array, "K"]:
    """Test which detections lie in an ignored vehicle, by share of area because it may be partly visible."""
    low = np.maximum(boxes[:, None, :2], ignored[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], ignored[None, :, 2:])
    overlap = np.clip(high - low, 0, None).prod(-1)
    return (overlap >= MIN_IGNORED_SHARE * np.maximum(_area(boxes), 1e-9)[:, None]).any(1)


def _area(boxes: Float[Array, "N 4"]) -> Float[Array, "N"]:
    return np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1)


def _mean(values: Array) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
