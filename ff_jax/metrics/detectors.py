"""Detect objects with YOLO networks from ONNX files: boxes, scores and COCO classes.

A detector is any function that maps an image, float (H, W, 3) in [0, 1], to `Detections`. `load_detector` makes one
from a network of the YOLO family, with the published pre- and post-processing. Boxes are in pixels of the input image,
whose left and top edges are at 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Shaped

from ff_jax.runtime.onnx_model import OnnxNetwork, open_network
from ff_jax.runtime.resize import resize_bilinear

CLASSES = 80  # of COCO: 2 car, 5 bus, 7 truck
PADDING = 114  # gray level of the border
YOLOX_STRIDES = (8, 16, 32)  # pixels; YOLOX predicts one box per cell of three grids


class Detections(NamedTuple):
    """Detected objects in descending order of score."""

    boxes: Float[np.ndarray, "K 4"]  # left, top, right, bottom; pixels, inside the image
    scores: Float[np.ndarray, "K"]
    classes: Int[np.ndarray, "K"]  # COCO, 0 to 79


Detector = Callable[[Float[np.ndarray, "H W 3"]], Detections]


class Placement(NamedTuple):
    """Position of an image in the input of a network: input pixel = image pixel * scale + offset."""

    scale: float
    left: float
    top: float


@dataclass(frozen=True)
class DetectorLayout:
    """Pre- and post-processing of a family of networks.

    `preprocess(image, height, width)` returns the input (1, 3, height, width) and the placement of the image in it;
    `decode(output, height, width)` returns boxes (left, top, right, bottom; input pixels) and scores of all classes.
    """

    preprocess: Callable[..., tuple[np.ndarray, Placement]]
    decode: Callable[..., tuple[np.ndarray, np.ndarray]]
    nms_iou: float  # the worse of two boxes of one class with a larger IoU is dropped; as published


def load_detector(
    path: Path | str,
    layout: str,
    *,
    score: float = 0.25,
) -> Detector:
    """Load a detector from an ONNX file, which fixes the size of the input.

    Exports whose input is not square pad less: YOLO11 exported at 640 x 448 processes a 480 x 320 frame exactly as the
    PyTorch model, which pads to a multiple of 32 only; at 640 x 640 it processes the same pixels with more padding.

    Args:
        path: the .onnx file.
        layout: one of LAYOUTS: "yolox", "yolov5", or "ultralytics" (YOLOv8, YOLO11 and later).
        score: minimal score of a box.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: the file cannot be run, or it has another layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"invalid {layout=}: expected one of {', '.join(LAYOUTS)}.")
    network, rules = open_network(path), LAYOUTS[layout]
    height, width = _input_size(network)

    def detect(image: Float[np.ndarray, "H W 3"]) -> Detections:
        if image.size == 0:
            raise ValueError(f"an image of shape {image.shape} has no pixel; use a larger one.")
        pixels, placement = rules.preprocess(image, height, width)
        spec = network.inputs[0]
        output = network.run({spec.name: pixels.astype(spec.dtype)})[0].astype(np.float32)
        boxes, scores = rules.decode(output, height, width)
        detections = suppress_non_maxima(_best_class(boxes, scores, score), rules.nms_iou)
        return detections._replace(boxes=_to_image(detections.boxes, placement, image.shape))

    return detect


def box_iou(a: Float[np.ndarray, "A 4"], b: Float[np.ndarray, "B 4"]) -> Float[np.ndarray, "A B"]:
    """Compute the intersection over union of every pair of boxes; 0 where both are empty."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = np.clip(high - low, 0, None).prod(-1)
    union = (a[:, 2:] - a[:, :2]).prod(-1)[:, None] + (b[:, 2:] - b[:, :2]).prod(-1) - overlap
    return np.divide(overlap, union, out=np.zeros(overlap.shape), where=union > 0)


def suppress_non_maxima(detections: Detections, iou: float, *, across_classes: bool = False) -> Detections:
    """Sort by score and drop boxes that overlap a better one (of their class) by more than `iou`."""
    detections = _select(detections, np.argsort(-detections.scores, kind="stable"))
    remaining, selected = np.arange(len(detections.scores)), []
    while len(remaining):
        best, remaining = remaining[0], remaining[1:]
        selected.append(best)
        overlap = box_iou(detections.boxes[best : best + 1], detections.boxes[remaining])[0]
        is_other_class = (detections.classes[remaining] != detections.classes[best]) & (not across_classes)
        remaining = remaining[(overlap <= iou) | is_other_class]
    return _select(detections, np.array(selected, int))


def _select(detections: Detections, rows: Int[np.ndarray, "J"]) -> Detections:
    return Detections(*(values[rows] for values in detections))


def preprocess_yolox(
    image: Float[np.ndarray, "H W 3"], height: int, width: int
) -> tuple[Float32[np.ndarray, "1 3 h w"], Placement]:
    """Make the input of YOLOX: BGR from 0 to 255, the image in the top left corner."""
    scale = min(height / image.shape[0], width / image.shape[1])
    # YOLOX truncates sizes.
    pixels = _letterbox(image, int(image.shape[0] * scale), int(image.shape[1] * scale), 0, 0, height, width)
    return _channels_first(pixels[..., ::-1]), Placement(scale, 0, 0)


def preprocess_centered(
    image: Float[np.ndarray, "H W 3"], height: int, width: int
) -> tuple[Float32[np.ndarray, "1 3 h w"], Placement]:
    """Make the input of YOLOv5 and its successors: RGB from 0 to 1, the image in the middle.

    The placement is exact. YOLOv5 maps boxes back by margins before rounding, which moves them by up to 2/3 of an input
    pixel (2 pixels of a 1920 x 1280 image).
    """
    scale = min(height / image.shape[0], width / image.shape[1])
    rows, columns = round(image.shape[0] * scale), round(image.shape[1] * scale)
    # The smaller half of an odd margin is above and on the left.
    top, left = (height - rows) // 2, (width - columns) // 2
    pixels = _letterbox(image, rows, columns, top, left, height, width)
    return _channels_first(pixels / 255), Placement(scale, left, top)


def decode_yolox(
    output: Float32[np.ndarray, "1 A v"], height: int, width: int
) -> tuple[Float32[np.ndarray, "A 4"], Float32[np.ndarray, "A 80"]]:
    """Decode YOLOX rows: centers relative to the grid cell and logarithms of sizes, in strides."""
    grids = [np.mgrid[: height // s, : width // s][::-1].reshape(2, -1).T for s in YOLOX_STRIDES]
    strides = np.concatenate([np.full((len(g), 1), s) for g, s in zip(grids, YOLOX_STRIDES, strict=True)])
    _check_output("yolox", output, (1, len(strides), 5 + CLASSES))
    centers = (output[0, :, :2] + np.concatenate(grids)) * strides
    return _to_corners(centers, np.exp(output[0, :, 2:4]) * strides), output[0, :, 4:5] * output[0, :, 5:]


def decode_yolov5(
    output: Float32[np.ndarray, "1 A v"], height: int, width: int
) -> tuple[Float32[np.ndarray, "A 4"], Float32[np.ndarray, "A 80"]]:
    """Decode YOLOv5 rows: center, size, objectness, class scores."""
    _check_output("yolov5", output, (1, output.shape[1], 5 + CLASSES))
    return _to_corners(output[0, :, :2], output[0, :, 2:4]), output[0, :, 4:5] * output[0, :, 5:]


def decode_ultralytics(
    output: Float32[np.ndarray, "1 v A"], height: int, width: int
) -> tuple[Float32[np.ndarray, "A 4"], Float32[np.ndarray, "A 80"]]:
    """Decode columns of YOLOv8 and its successors: center, size, class scores."""
    _check_output("ultralytics", output, (1, 4 + CLASSES, output.shape[2]))
    return _to_corners(output[0, :2].T, output[0, 2:4].T), output[0, 4:].T


LAYOUTS = {
    "yolox": DetectorLayout(preprocess_yolox, decode_yolox, 0.45),
    "yolov5": DetectorLayout(preprocess_centered, decode_yolov5, 0.45),
    "ultralytics": DetectorLayout(preprocess_centered, decode_ultralytics, 0.7),
}


def _letterbox(
    image: Float[np.ndarray, "H W 3"], rows: int, columns: int, top: int, left: int, height: int, width: int
) -> Float32[np.ndarray, "h w 3"]:
    """Place the image, resized to `rows` x `columns`, on a gray canvas of `height` x `width`, from 0 to 255."""
    canvas = np.full((height, width, 3), PADDING, np.float32)
    # The networks were trained on images resized in 8 bits.
    pixels = np.rint(resize_bilinear(image, rows, columns) * 255)
    canvas[top : top + rows, left : left + columns] = pixels
    return canvas


def _channels_first(pixels: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "1 3 h w"]:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def _to_corners(centers: Shaped[np.ndarray, "A 2"], sizes: Shaped[np.ndarray, "A 2"]) -> Float32[np.ndarray, "A 4"]:
    return np.concatenate([centers - sizes / 2, centers + sizes / 2], 1).astype(np.float32)


def _best_class(boxes: Float[np.ndarray, "A 4"], scores: Float[np.ndarray, "A 80"], min_score: float) -> Detections:
    """Select the boxes whose best class scores at least `min_score`."""
    best = scores.max(1)
    rows = np.flatnonzero(best >= min_score)
    return Detections(boxes[rows], best[rows], scores[rows].argmax(1))


def _to_image(
    boxes: Float[np.ndarray, "K 4"], placement: Placement, shape: tuple[int, ...]
) -> Float32[np.ndarray, "K 4"]:
    offset = np.array([placement.left, placement.top] * 2)
    high = np.array([shape[1], shape[0]] * 2)
    return np.clip((boxes - offset) / placement.scale, 0, high).astype(np.float32)


def _input_size(network: OnnxNetwork) -> tuple[int, int]:
    shapes = [spec.shape for spec in network.inputs]
    if len(shapes) == 1 and len(shapes[0]) == 4:
        batch, channels, height, width = shapes[0]
        if (batch, channels) == (1, 3) and height is not None and width is not None:
            return height, width
    raise ValueError(
        f"{network.path} has inputs {shapes}: expected one image, 1 x 3 x height x width; export it with a fixed size "
        "and a batch of one."
    )


def _check_output(layout: str, output: np.ndarray, shape: tuple[int, ...]) -> None:
    if output.shape != shape:
        raise ValueError(f"invalid {layout=}: it expects an output of {shape}, but the file has {output.shape}.")
