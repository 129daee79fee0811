"""Compute NTL-IoU: IoU between the lanes of the map and those that a lane network detects in a rendered frame.

DriveDreamer4D (arXiv 2410.13571) scores a frame by the mean of two IoUs between the lanes that TwinLiteNet (arXiv
2307.10705) detects and those of the map (`lane_raster`): of lane pixels and of background pixels. Most of an image is
background, so the second IoU is above 0.9 for any image, and nearly half of the published score is constant. This
module also reports both IoUs, and the lane IoU over the pixels of all frames.

For a frame without any lane pixel, the published mean takes a lane IoU of 0; `NtlScore.lane` leaves the frame out, and
`NtlScore.lane_pooled` is not affected.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32

from ff_jax.metrics.lane_raster import HEIGHT, WIDTH
from ff_jax.runtime.onnx_model import open_network
from ff_jax.runtime.resize import resize_bilinear

Lanes = Bool[np.ndarray, "360 640"]
LaneNetwork = Callable[[Float[np.ndarray, "H W 3"]], Lanes]  # image in [0, 1] -> lane mask


class LanePixelCounts(NamedTuple):
    """Numbers of pixels of one frame."""

    lane_intersection: int
    lane_union: int
    background_intersection: int
    background_union: int


class NtlScore(NamedTuple):
    """Scores over frames, in percent; NaN for a mean of no value."""

    published: float  # mean over the frames of the mean of lane and background IoU
    lane: float  # mean of the lane IoU over frames with a lane pixel
    background: float  # mean over the frames of the background IoU
    lane_pooled: float  # lane IoU of the pixels of all frames together
    frames: int


def load_twinlitenet(path: Path | str) -> LaneNetwork:
    """Load TwinLiteNet from its ONNX file as a function of one image of any size in [0, 1].

    The network has the input 1 x 3 x 360 x 640 (RGB in [0, 1]) and an output `ll` of 1 x 2 x 360 x 640 logits, those of
    background and lane. The image is resized bilinearly, ignoring its aspect ratio; the published protocol resizes in 8
    bits.

    Raises:
        ValueError: the file is not such a network.
        ImportError: onnxruntime is not installed.
    """
    network = open_network(path)
    names = [spec.name for spec in network.outputs]
    if len(network.inputs) != 1 or network.inputs[0].shape[1:] != (3, HEIGHT, WIDTH) or "ll" not in names:
        raise ValueError(f"{path}: the outputs are {names}; expected TwinLiteNet for 640 x 360 with an output 'll'.")

    def detect_lanes(image: Float[np.ndarray, "H W 3"]) -> Lanes:
        pixels = resize_bilinear(image, HEIGHT, WIDTH).transpose(2, 0, 1)[None]
        logits = network.run({network.inputs[0].name: pixels})[names.index("ll")][0]
        return logits[1] > logits[0]

    return detect_lanes


def score_frame(predicted: Bool[np.ndarray, "H W"], truth: Bool[np.ndarray, "H W"]) -> LanePixelCounts:
    """Count the pixels of one frame."""
    both, either = int((predicted & truth).sum()), int((predicted | truth).sum())
    return LanePixelCounts(both, either, truth.size - either, truth.size - both)


def aggregate(frames: Iterable[LanePixelCounts]) -> NtlScore:
    """Average the scores of frames.

    Raises:
        ValueError: there is none.
    """
    counts = np.array([*frames], np.int64).reshape(-1, 4)
    if not len(counts):
        raise ValueError("NTL-IoU needs at least one frame.")
    lane, background = _iou(*counts[:, :2].T), _iou(*counts[:, 2:].T)
    published = (np.nan_to_num(lane) + np.nan_to_num(background)) / 2
    pooled = _iou(*counts[:, :2].sum(0)[:, None])
    return NtlScore(_percent(published), _percent(lane), _percent(background), _percent(pooled), len(counts))


def draw(image: Float[np.ndarray, "H W 3"], predicted: Lanes, truth: Lanes) -> Float32[np.ndarray, "360 640 3"]:
    """Draw truth in green, prediction in red and both in yellow over the image, at the size of the network."""
    picture = resize_bilinear(image, HEIGHT, WIDTH)
    color = np.stack([predicted, truth, np.zeros_like(truth)], -1).astype(np.float32)
    return np.where((predicted | truth)[..., None], 0.35 * picture + 0.65 * color, picture).astype(np.float32)


def _iou(intersection: np.ndarray, union: np.ndarray) -> Float[np.ndarray, "N"]:
    return np.where(union > 0, intersection / np.maximum(union, 1), np.nan)


def _percent(values: Float[np.ndarray, "N"]) -> float:
    values = values[~np.isnan(values)]
    return 100 * float(values.mean()) if len(values) else float("nan")
