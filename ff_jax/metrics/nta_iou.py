"""NTA-IoU: does a detector find the vehicles of a rendered frame where the log says that they are?

Source: novel trajectory agent IoU of DriveDreamer4D (arXiv 2410.13571) and ReconDreamer (arXiv 2411.19548), after their
released evaluation code. Vehicles of the log are projected to the shifted camera; the score is the IoU between each
and the detection that belongs to it, 0 where there is none.

A frame takes three calls: `frame_ground_truth`, `detect`, `score_frame`; `aggregate` turns all scores into numbers.
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
from ff_jax.metrics.detectors import Detections, Detector, box_iou, suppress
from ff_jax.runtime.resize import resize_bilinear

Array = np.ndarray

TOUCHING = 0.1  # IoU below which two boxes are not of the same thing, where boxes are matched by IoU
FOUND = 0.5  # IoU from which a vehicle counts as found, and a detection as right
EXCUSED = 0.5  # share of a detection inside a vehicle that is ignored from which it is not held against the frame


@dataclass(frozen=True)
class Protocol:
    """What counts as ground truth and as a detection, and how the two are matched.

    A vehicle that does not count is ignored: it need not be found, and detections of it are no false positives.
    """

    name: str
    classes: tuple[int, ...] | None  # of COCO; None takes all
    score: float  # detections must score more
    merge: float | None  # IoU above which detections are one vehicle, whatever their classes; None keeps all
    size: tuple[int, int] | None  # width, height that the frame is resized to; None leaves it
    whole_pixels: bool  # cut the coordinates of ground truth and detections to integers, towards 0
    min_points: int  # LiDAR points in a vehicle; one whose count is unknown (-1) counts as visible
    min_inside: float  # share of a vehicle's box in the image; what sticks out is clipped
    max_hidden: float  # share of a vehicle that nearer boxes may hide; 1 does not look at occlusion
    min_height: float  # of a vehicle and of a false positive, share of the image height
    reach: float | None  # pixels to the nearest detection centre, which several vehicles may share; None matches by IoU


# As released. Every vehicle takes the nearest detection, so one may serve many, and false positives cost nothing. The
# code does not look at the sign of the depth, but drops labels behind the recorded camera beforehand; here a box must
# be in front of the shifted one.
RECONDREAMER = Protocol(
    name="recondreamer",
    classes=(2, 5),  # car, bus: trucks are not asked for, though the ground truth has them
    score=0.5,
    merge=None,
    size=(480, 320),
    whole_pixels=True,
    min_points=10,
    min_inside=1.0,
    max_hidden=1.0,
    min_height=0.0,
    reach=10.0,
)
DRIVEDREAMER4D = replace(RECONDREAMER, name="drivedreamer4d", classes=None)
STRICT = Protocol(
    name="strict",
    classes=(2, 5, 7),  # car, bus, truck
    score=0.25,  # default of the detectors; false positives are counted, so a low threshold is no free gain
    merge=0.5,  # else a van seen as a car and as a truck would be a vehicle and a false positive
    size=None,
    whole_pixels=False,
    min_points=6,  # Waymo's level 1 has more than five
    min_inside=0.5,
    max_hidden=0.5,
    min_height=0.05,  # a car some 50 m in front of a Waymo camera
    reach=None,
)


class GroundTruth(NamedTuple):
    """The vehicles of one frame, as boxes (left, top, right, bottom) in pixels of an image of `width` x `height`."""

    boxes: Float[Array, "G 4"]
    ignored: Float[Array, "I 4"]  # vehicles that do not count, clipped to the image
    tracks: tuple[str, ...]  # of `boxes`
    width: int
    height: int


class FrameScore(NamedTuple):
    """How the detections of one frame fit the ground truth."""

    ious: Float[Array, "G"]  # 0 where no detection belongs to the vehicle
    partners: Int[Array, "G"]  # which detection belongs to each vehicle, -1 if none does
    right: Bool[Array, "K"]  # detections that belong to a vehicle with an IoU of FOUND or more
    wrong: Bool[Array, "K"]  # false positives; what is neither lies in an ignored vehicle or is too small


class Nta(NamedTuple):
    """Results over frames; NaN where there is nothing to average."""

    iou: float  # the published number: mean over all vehicles of all frames
    frame_iou: float  # mean over frames (that have vehicles) of their means
    recall: float  # share of the vehicles with an IoU of FOUND or more
    precision: float  # share of the detections that are right, of those that are right or wrong
    false_positives_per_frame: float
    ground_truths: int
    detections: int  # right or wrong
    frames: int


def frame_ground_truth(
    log: SceneData,
    time_index: int,
    K: Float[Array, "3 3"],
    world_from_camera: Float[Array, "4 4"],
    width: int,
    height: int,
    protocol: Protocol,
    depth: Float[Array, "height width"] | None = None,
) -> GroundTruth:
    """Return the vehicles of the log at `time_index` in a pinhole camera, at the image size of the protocol.

    Args:
        log: all its boxes at that time can hide a vehicle.
        time_index: into the times of the log.
        K: of the camera, for an image of `width` x `height`.
        world_from_camera: where the frame is rendered from.
        width: of the frame, pixels.
        height: of the frame, pixels.
        protocol: what counts.
        depth: z of what the frame shows, metres; adds what hides vehicles without being a box. Used only where the
            protocol looks at occlusion.
    """
    found = boxes_at(log, time_index)
    poses = np.array([box.world_from_object for box in found]).reshape(-1, 4, 4)
    sizes = np.array([box.size for box in found]).reshape(-1, 3)
    view = (K, world_from_camera, width, height)
    hidden = np.zeros(len(found)) if protocol.max_hidden >= 1 else occluded_share(poses, sizes, *view, depth)
    projected = project_boxes(poses, sizes, *view)
    new_width, new_height = protocol.size or (width, height)
    hulls = projected.hulls * np.array([new_width / width, new_height / height] * 2)
    if protocol.whole_pixels:
        hulls = np.trunc(hulls)
    boxes = np.clip(hulls, 0, [new_width, new_height] * 2)
    # A box of no area may lie in the image; NaN, behind the camera, compares as false.
    inside = np.where((boxes == hulls).all(1), 1.0, _area(boxes) / np.maximum(_area(hulls), 1e-9))
    vehicle = np.array([box.category == "vehicle" for box in found], bool)
    dense = np.array([not 0 <= box.num_points < protocol.min_points for box in found], bool)
    tall = boxes[:, 3] - boxes[:, 1] >= protocol.min_height * new_height
    whole = projected.in_front if protocol.min_inside >= 1 else np.ones(len(found), bool)
    counts = vehicle & dense & tall & whole & (inside >= protocol.min_inside) & (hidden <= protocol.max_hidden)
    ignored = vehicle & ~counts & projected.partly_inside
    tracks = tuple(box.track_id for box, count in zip(found, counts, strict=True) if count)
    return GroundTruth(boxes[counts], boxes[ignored], tracks, new_width, new_height)


def detect(detector: Detector, image: Float[Array, "H W 3"], protocol: Protocol) -> Detections:
    """Return the detections that the protocol admits, in pixels of the image size of the protocol."""
    if protocol.size is not None:
        image = resize_bilinear(image, protocol.size[1], protocol.size[0])
    found = detector(image)
    kept = found.scores > protocol.score
    if protocol.classes is not None:
        kept &= np.isin(found.classes, protocol.classes)
    found = Detections(*(values[kept] for values in found))
    if protocol.merge is not None:
        found = suppress(found, protocol.merge, across_classes=True)
    return found._replace(boxes=np.trunc(found.boxes)) if protocol.whole_pixels else found


def score_frame(detections: Detections, truth: GroundTruth, protocol: Protocol) -> FrameScore:
    """Match the detections (of `detect`) with the vehicles of one frame."""
    boxes = np.asarray(detections.boxes, float)
    iou = box_iou(truth.boxes, boxes)
    partners = _by_iou(iou) if protocol.reach is None else _by_centre(truth.boxes, boxes, protocol.reach)
    matched = np.flatnonzero(partners >= 0)
    ious = np.zeros(len(partners))
    ious[matched] = iou[matched, partners[matched]]
    right = np.zeros(len(boxes), bool)
    right[partners[ious >= FOUND]] = True
    tall = boxes[:, 3] - boxes[:, 1] >= protocol.min_height * truth.height
    return FrameScore(ious, partners, right, ~right & tall & ~_excused(boxes, truth.ignored))


def aggregate(frames: Sequence[FrameScore]) -> Nta:
    """Return the results over the frames, of one clip or of many."""
    ious = np.concatenate([np.zeros(0), *(frame.ious for frame in frames)])
    right, wrong = (sum(int(getattr(frame, name).sum()) for frame in frames) for name in ("right", "wrong"))
    return Nta(
        iou=_mean(ious),
        frame_iou=_mean(np.array([frame.ious.mean() for frame in frames if len(frame.ious)])),
        recall=_mean(ious >= FOUND),
        precision=right / (right + wrong) if right + wrong else np.nan,
        false_positives_per_frame=wrong / len(frames) if frames else np.nan,
        ground_truths=len(ious),
        detections=right + wrong,
        frames=len(frames),
    )


def draw(
    image: Float[Array, "H W 3"], detections: Detections, truth: GroundTruth, score: FrameScore
) -> Float[Array, "H W 3"]:
    """Return the image with its boxes.

    Vehicles are green, ignored ones grey; detections that belong to a vehicle blue with their IoU, false positives
    red, other detections orange.
    """
    picture = Image.fromarray(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    scale = np.array([image.shape[1] / truth.width, image.shape[0] / truth.height] * 2)
    line = max(1, round(image.shape[1] / 640))

    def rectangle(box: Float[Array, "4"], colour: str, text: str = "") -> None:
        left, top, right, bottom = box * scale
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=line)
        pen.text((left + 2 * line, top + line), text, fill=colour, font_size=12 * line)

    for box in truth.ignored:
        rectangle(box, "grey")
    for box in truth.boxes:
        rectangle(box, "lime")
    for k, box in enumerate(detections.boxes):
        mine = score.ious[score.partners == k]
        colour = "dodgerblue" if len(mine) else "red" if score.wrong[k] else "orange"
        rectangle(box, colour, f"{mine.max():.2f}" if len(mine) else "")
    return np.asarray(picture, np.float32) / 255


def _by_centre(truth: Float[Array, "G 4"], boxes: Float[Array, "K 4"], reach: float) -> Int[Array, "G"]:
    """Return the detection with the nearest centre, if it is nearer than `reach`; -1 otherwise."""
    if not len(boxes):
        return np.full(len(truth), -1)
    middle = lambda values: (values[:, :2] + values[:, 2:]) / 2
    distance = np.linalg.norm(middle(truth)[:, None] - middle(boxes)[None], axis=-1)
    return np.where(distance.min(1) < reach, distance.argmin(1), -1)


def _by_iou(iou: Float[Array, "G K"]) -> Int[Array, "G"]:
    """Return the one-to-one matching of the largest sum of IoU; -1 where nothing that is left overlaps enough."""
    partners = np.full(iou.shape[0], -1)
    iou = np.where(iou >= TOUCHING, iou, 0.0)
    rows, columns = linear_sum_assignment(iou, maximize=True)
    touching = iou[rows, columns] > 0
    partners[rows[touching]] = columns[touching]
    return partners


def _excused(boxes: Float[Array, "K 4"], ignored: Float[Array, "I 4"]) -> Bool[Array, "K"]:
    """Return which detections lie in a vehicle that is ignored; it may be seen in part, so IoU would not do."""
    low = np.maximum(boxes[:, None, :2], ignored[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], ignored[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    return (shared >= EXCUSED * np.maximum(_area(boxes), 1e-9)[:, None]).any(1)


def _area(boxes: Float[Array, "N 4"]) -> Float[Array, "N"]:
    return np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1)


def _mean(values: Array) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
