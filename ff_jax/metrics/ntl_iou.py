"""NTL-IoU: does a lane network find the lanes of the map in an image of a new trajectory?

DriveDreamer4D (arXiv 2410.13571) scores a frame by the mean of two IoUs between the lanes that TwinLiteNet (arXiv
2307.10705) finds in it and those of the map (`lane_raster`): that of the lane pixels and that of all others. Most
of an image is not lane, so the second is above 0.9 whatever the image shows, and nearly half of the published figure
is constant. This module therefore gives both, and the lane IoU over the pixels of all frames, beside it.

Where neither network nor map has a lane pixel, the published mean counts a lane IoU of 0; `Ntl.lane` leaves such a
frame out, and `Ntl.lane_pooled` is not touched by it.
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
LaneNetwork = Callable[[Float[np.ndarray, "H W 3"]], Lanes]  # image in [0, 1] -> where its lanes are


class FrameScore(NamedTuple):
    """Pixels of one frame."""

    lane_intersection: int
    lane_union: int
    background_intersection: int
    background_union: int


class Ntl(NamedTuple):
    """Scores over frames, in percent; nan where nothing defines them."""

    published: float  # mean over the frames of the mean of lane and background IoU
    lane: float  # mean over the frames of the lane IoU, frames without any lane left out
    background: float  # mean over the frames of the background IoU
    lane_pooled: float  # lane IoU of the pixels of all frames together
    frames: int


def load_twinlitenet(path: Path | str) -> LaneNetwork:
    """Return TwinLiteNet from its ONNX file as a function of one image of any size in [0, 1].

    The network has the input 1 x 3 x 360 x 640 (RGB in [0, 1]) and an output `ll` of 1 x 2 x 360 x 640 logits, of
    which the second channel is the lane. The image is resized bilinearly without regard to its aspect; the
    published protocol does that in 8 bits.

    Raises:
        ValueError: the file is not such a network.
        ImportError: onnxruntime is not installed.
    """
    network = open_network(path)
    names = [spec.name for spec in network.outputs]
    if len(network.inputs) != 1 or network.inputs[0].shape[1:] != (3, HEIGHT, WIDTH) or "ll" not in names:
        raise ValueError(f"{path}: found the outputs {names}; give TwinLiteNet for 640 x 360 with an output 'll'.")

    def find(image: Float[np.ndarray, "H W 3"]) -> Lanes:
        pixels = resize_bilinear(image, HEIGHT, WIDTH).transpose(2, 0, 1)[None]
        logits = network.run({network.inputs[0].name: pixels})[names.index("ll")][0]
        return logits[1] > logits[0]

    return find


def score_frame(predicted: Bool[np.ndarray, "H W"], truth: Bool[np.ndarray, "H W"]) -> FrameScore:
    """Count the pixels of one frame."""
    both, either = int((predicted & truth).sum()), int((predicted | truth).sum())
    return FrameScore(both, either, truth.size - either, truth.size - both)


def aggregate(frames: Iterable[FrameScore]) -> Ntl:
    """Average the scores of frames.

    Raises:
        ValueError: there is none.
    """
    counts = np.array([*frames], np.int64).reshape(-1, 4)
    if not len(counts):
        raise ValueError("NTL-IoU of no frames is not defined; score at least one.")
    lane, background = _iou(*counts[:, :2].T), _iou(*counts[:, 2:].T)
    published = (np.nan_to_num(lane) + np.nan_to_num(background)) / 2
    pooled = _iou(*counts[:, :2].sum(0)[:, None])
    return Ntl(_percent(published), _percent(lane), _percent(background), _percent(pooled), len(counts))


def draw(image: Float[np.ndarray, "H W 3"], predicted: Lanes, truth: Lanes) -> Float32[np.ndarray, "360 640 3"]:
    """Return the image at the size of the network, with truth in green, prediction in red, both in yellow."""
    picture = resize_bilinear(image, HEIGHT, WIDTH)
    colour = np.stack([predicted, truth, np.zeros_like(truth)], -1).astype(np.float32)
    return np.where((predicted | truth)[..., None], 0.35 * picture + 0.65 * colour, picture).astype(np.float32)


def _iou(intersection: np.ndarray, union: np.ndarray) -> Float[np.ndarray, "N"]:
    return np.where(union > 0, intersection / np.maximum(union, 1), np.nan)


def _percent(values: Float[np.ndarray, "N"]) -> float:
    known = values[~np.isnan(values)]
    return 100 * float(known.mean()) if len(known) else float("nan")
