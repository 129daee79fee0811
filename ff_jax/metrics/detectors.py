"""Object detectors from ONNX files: from an image to boxes, scores and COCO classes.

A detector is any function that maps an image, float (H, W, 3) in [0, 1], to `Detections`. `load_detector` makes one
from a network of the YOLO family, with the pre- and post-processing its authors publish. Boxes are in pixels of the
image that was given, with the left and top edge of the image at 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Shaped

from ff_jax.runtime.onnx_model import OnnxNetwork, open_network
from ff_jax.runtime.resize import resize_bilinear

CLASSES = 80  # of COCO, as these networks number them: 2 car, 5 bus, 7 truck
PADDING = 114  # grey level of the border
YOLOX_STRIDES = (8, 16, 32)  # pixels; YOLOX predicts one box at every cell of three grids


class Detections(NamedTuple):
    """What a detector found, in descending order of score."""

    boxes: Float[np.ndarray, "K 4"]  # left, top, right, bottom; pixels, inside the image
    scores: Float[np.ndarray, "K"]
    classes: Int[np.ndarray, "K"]  # COCO, 0 to 79


Detector = Callable[[Float[np.ndarray, "H W 3"]], Detections]


class Placement(NamedTuple):
    """Where an image lies in the input of a network: input pixel = image pixel * gain + offset."""

    gain: float
    left: float
    top: float


@dataclass(frozen=True)
class Layout:
    """How a family of networks wants its images and gives its boxes.

    `preprocess(image, height, width)` returns the input (1, 3, height, width) and where the image lies in it;
    `decode(output, height, width)` returns boxes (left, top, right, bottom; input pixels) and scores of all classes.
    """

    preprocess: Callable[..., tuple[np.ndarray, Placement]]
    decode: Callable[..., tuple[np.ndarray, np.ndarray]]
    nms_iou: float  # default of the authors


def load_detector(
    path: Path | str,
    layout: str,
    *,
    score: float = 0.25,
    nms_iou: float | None = None,
    threads: int | None = None,
) -> Detector:
    """Return the detector in an ONNX file; the size of its input is that of the file.

    Exports whose input is not square pad less: YOLO11 from 640 x 448 sees a 480 x 320 frame exactly as the PyTorch
    model does, which pads to a multiple of 32 only; from 640 x 640 it sees the same pixels with more grey around.

    Args:
        path: of the .onnx file.
        layout: one of LAYOUTS: "yolox", "yolov5", or "ultralytics" (YOLOv8, YOLO11 and later).
        score: boxes of lower scores are dropped before overlapping ones are.
        nms_iou: of two boxes of one class that overlap more than this the worse is dropped; None takes the authors'
            default (0.45, "ultralytics" 0.7).
        threads: of the CPU; None takes one for every core.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: the file cannot be run, or it is not of that layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"{layout=} is not known; use one of {', '.join(LAYOUTS)}.")
    network, rules = open_network(path, threads), LAYOUTS[layout]
    height, width = _input_size(network)
    nms_iou = rules.nms_iou if nms_iou is None else nms_iou

    def detect(image: Float[np.ndarray, "H W 3"]) -> Detections:
        if image.size == 0:
            raise ValueError(f"an image of shape {image.shape} has no pixel; give a larger one.")
        pixels, placement = rules.preprocess(image, height, width)
        spec = network.inputs[0]
        output = network.run({spec.name: pixels.astype(spec.dtype)})[0].astype(np.float32)
        boxes, scores = rules.decode(output, height, width)
        found = suppress(_best_class(boxes, scores, score), nms_iou)
        return found._replace(boxes=_to_image(found.boxes, placement, image.shape))

    return detect


def box_iou(a: Float[np.ndarray, "A 4"], b: Float[np.ndarray, "B 4"]) -> Float[np.ndarray, "A B"]:
    """Return the intersection over union of every pair of boxes; 0 where both are empty."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = np.clip(high - low, 0, None).prod(-1)
    union = (a[:, 2:] - a[:, :2]).prod(-1)[:, None] + (b[:, 2:] - b[:, :2]).prod(-1) - overlap
    return np.divide(overlap, union, out=np.zeros(overlap.shape), where=union > 0)


def suppress(found: Detections, iou: float, *, across_classes: bool = False) -> Detections:
    """Suppress non-maxima: sort by score, drop what overlaps a better box (of its class) by more than `iou`."""
    found = Detections(*(values[np.argsort(-found.scores, kind="stable")] for values in found))
    left, kept = np.arange(len(found.scores)), []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        overlap = box_iou(found.boxes[best : best + 1], found.boxes[left])[0]
        other = (found.classes[left] != found.classes[best]) & (not across_classes)
        left = left[(overlap <= iou) | other]
    return Detections(*(values[np.array(kept, int)] for values in found))


def preprocess_yolox(
    image: Float[np.ndarray, "H W 3"], height: int, width: int
) -> tuple[Float32[np.ndarray, "1 3 h w"], Placement]:
    """Return the input of YOLOX: BGR from 0 to 255, the image in the top left corner."""
    gain = min(height / image.shape[0], width / image.shape[1])
    # Sizes are cut, not rounded, as YOLOX does.
    pixels = _placed(image, int(image.shape[0] * gain), int(image.shape[1] * gain), 0, 0, height, width)
    return _channels_first(pixels[..., ::-1]), Placement(gain, 0, 0)


def preprocess_centred(
    image: Float[np.ndarray, "H W 3"], height: int, width: int
) -> tuple[Float32[np.ndarray, "1 3 h w"], Placement]:
    """Return the input of YOLOv5 and its successors: RGB from 0 to 1, the image in the middle.

    The placement is where the image lies. YOLOv5 itself maps its boxes back by margins before rounding, which moves
    them by up to 2/3 of an input pixel (2 pixels of a 1920 x 1280 image).
    """
    gain = min(height / image.shape[0], width / image.shape[1])
    rows, columns = round(image.shape[0] * gain), round(image.shape[1] * gain)
    # An odd margin has its smaller half above and on the left.
    top, left = (height - rows) // 2, (width - columns) // 2
    pixels = _placed(image, rows, columns, top, left, height, width)
    return _channels_first(pixels / 255), Placement(gain, left, top)


def decode_yolox(
    output: Float32[np.ndarray, "1 A v"], height: int, width: int
) -> tuple[Float32[np.ndarray, "A 4"], Float32[np.ndarray, "A 80"]]:
    """Turn raw YOLOX rows into boxes: centres relative to their grid cell and logarithms of sizes, in strides."""
    grids = [np.mgrid[: height // s, : width // s][::-1].reshape(2, -1).T for s in YOLOX_STRIDES]
    strides = np.concatenate([np.full((len(g), 1), s) for g, s in zip(grids, YOLOX_STRIDES, strict=True)])
    _expect("yolox", output, (1, len(strides), 5 + CLASSES))
    centres = (output[0, :, :2] + np.concatenate(grids)) * strides
    return _edges(centres, np.exp(output[0, :, 2:4]) * strides), output[0, :, 4:5] * output[0, :, 5:]


def decode_yolov5(
    output: Float32[np.ndarray, "1 A v"], height: int, width: int
) -> tuple[Float32[np.ndarray, "A 4"], Float32[np.ndarray, "A 80"]]:
    """Turn YOLOv5 rows (centre, size, objectness, class scores) into boxes and scores."""
    _expect("yolov5", output, (1, output.shape[1], 5 + CLASSES))
    return _edges(output[0, :, :2], output[0, :, 2:4]), output[0, :, 4:5] * output[0, :, 5:]


def decode_ultralytics(
    output: Float32[np.ndarray, "1 v A"], height: int, width: int
) -> tuple[Float32[np.ndarray, "A 4"], Float32[np.ndarray, "A 80"]]:
    """Turn the columns (centre, size, class scores) of YOLOv8 and its successors into boxes and scores."""
    _expect("ultralytics", output, (1, 4 + CLASSES, output.shape[2]))
    return _edges(output[0, :2].T, output[0, 2:4].T), output[0, 4:].T


LAYOUTS = {
    "yolox": Layout(preprocess_yolox, decode_yolox, 0.45),
    "yolov5": Layout(preprocess_centred, decode_yolov5, 0.45),
    "ultralytics": Layout(preprocess_centred, decode_ultralytics, 0.7),
}


def _placed(
    image: Float[np.ndarray, "H W 3"], rows: int, columns: int, top: int, left: int, height: int, width: int
) -> Float32[np.ndarray, "h w 3"]:
    """Return a grey canvas of `height` x `width` with the image, resized to `rows` x `columns`, from 0 to 255."""
    canvas = np.full((height, width, 3), PADDING, np.float32)
    # The networks were trained on images that are resized in 8 bits.
    pixels = np.rint(resize_bilinear(image, rows, columns) * 255)
    canvas[top : top + rows, left : left + columns] = pixels
    return canvas


def _channels_first(pixels: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "1 3 h w"]:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def _edges(centres: Shaped[np.ndarray, "A 2"], sizes: Shaped[np.ndarray, "A 2"]) -> Float32[np.ndarray, "A 4"]:
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], 1).astype(np.float32)


def _best_class(boxes: Float[np.ndarray, "A 4"], scores: Float[np.ndarray, "A 80"], least: float) -> Detections:
    """Return the boxes whose best class scores at least `least`, each with that class."""
    best = scores.max(1)
    kept = np.flatnonzero(best >= least)
    return Detections(boxes[kept], best[kept], scores[kept].argmax(1))


def _to_image(
    boxes: Float[np.ndarray, "K 4"], placement: Placement, shape: tuple[int, ...]
) -> Float32[np.ndarray, "K 4"]:
    offset = np.array([placement.left, placement.top] * 2)
    high = np.array([shape[1], shape[0]] * 2)
    return np.clip((boxes - offset) / placement.gain, 0, high).astype(np.float32)


def _input_size(network: OnnxNetwork) -> tuple[int, int]:
    shapes = [spec.shape for spec in network.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or None in shapes[0] or shapes[0][:2] != (1, 3):
        raise ValueError(
            f"{network.path} takes inputs of {shapes}, not one image of 1 x 3 x height x width; export it with a fixed "
            "size and a batch of one."
        )
    return shapes[0][2], shapes[0][3]


def _expect(layout: str, output: np.ndarray, shape: tuple[int, ...]) -> None:
    if output.shape != shape:
        raise ValueError(f"{layout=} expects an output of {shape}, found {output.shape}; name the layout of the file.")
