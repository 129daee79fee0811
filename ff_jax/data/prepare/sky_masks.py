"""Sky masks from a segmentation network, or from colors and LiDAR."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import ndimage

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.points.visibility import project_points
from ff_jax.data.scene_data import Frame, LidarSweep, SceneData
from ff_jax.runtime.onnx_model import OnnxNetwork
from ff_jax.runtime.resize import resize_bilinear

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet: input of the networks
MAX_GRADIENT = 0.02  # change of brightness per pixel (at sigma 1.5 px) of sky and clouds
MIN_BRIGHTNESS = 0.75  # of clouds
MIN_BLUENESS = 0.06  # blue minus red, of a clear sky
EDGE = 3  # pixels by which the smoothed gradient shrinks the sky at outlines
RETURN_RADIUS = 0.012  # image widths around a LiDAR return that are not sky: beams are far apart

# (image (H, W, 3) in [0, 1], frame) -> probability of sky (H, W)
Segment = Callable[[Float[np.ndarray, "H W 3"], Frame], Float32[np.ndarray, "H W"]]


def with_sky(scene: SceneData, segment: Segment) -> SceneData:
    """Add a sky mask, computed on load, to every frame without one."""

    def add_mask(frame: Frame) -> Frame:
        if "sky" in frame.masks:
            return frame

        def compute() -> Float32[np.ndarray, "H W"]:
            return (segment(frame.image.load(), frame) > 0.5).astype(np.float32)

        return replace(frame, masks={**frame.masks, "sky": Source(f"sky of {frame.image.name}", compute)})

    return replace(scene, frames=tuple(map(add_mask, scene.frames)))


def network_segmenter(network: OnnxNetwork) -> Segment:
    """Make a segmenter from a network such as U2-Net.

    Its input is one image (1, 3, h, w) with the normalization of ImageNet, its output the probability of sky
    (1, 1, h, w).

    Raises:
        ValueError: the input of the network has another shape.
    """
    spec = network.inputs[0]
    height, width = spec.shape[2:] if len(spec.shape) == 4 else (None, None)
    if len(network.inputs) != 1 or height is None or width is None or spec.shape[1] != 3:
        raise ValueError(f"{network.path} takes {spec.name} of shape {spec.shape}; expected one image (1, 3, h, w).")

    def segment(image: Float[np.ndarray, "H W 3"], frame: Frame) -> Float32[np.ndarray, "H W"]:
        del frame
        small = (resize_bilinear(image, height, width) - MEAN) / STD
        (out, *_) = network.run({spec.name: small.transpose(2, 0, 1)[None].astype(np.float32)})
        return resize_bilinear(out[0, 0], *image.shape[:2])

    return segment


def color_segmenter(scene: SceneData) -> Segment:
    """Make a segmenter without a network: bright or blue, smooth regions at the top without LiDAR returns."""
    sweeps: dict[int, list[LidarSweep]] = {}
    for sweep in scene.sweeps:
        sweeps.setdefault(sweep.time_index, []).append(sweep)

    def segment(image: Float[np.ndarray, "H W 3"], frame: Frame) -> Float32[np.ndarray, "H W"]:
        gray = image.mean(-1)
        light = (gray > MIN_BRIGHTNESS) | (image[..., 2] - image[..., 0] > MIN_BLUENESS)
        smooth = ndimage.gaussian_gradient_magnitude(gray, 1.5) < MAX_GRADIENT
        candidates = light & smooth & ~_near_returns(sweeps.get(frame.time_index, ()), frame)
        core = _connected_to_top(candidates)
        return (ndimage.binary_dilation(core, iterations=EDGE, mask=light) | core).astype(np.float32)

    return segment


def _near_returns(sweeps: Sequence[LidarSweep], frame: Frame) -> Bool[np.ndarray, "H W"]:
    """Mark the pixels near the LiDAR returns of some sweeps."""
    hit = np.zeros((frame.height, frame.width), bool)
    for sweep in sweeps:
        pixels, _, inside = project_points(frame, sweep.load_world().astype(float))
        column, row = pixels[inside].astype(int).T
        hit[row, column] = True
    size = 2 * max(round(RETURN_RADIUS * frame.width), 1) + 1
    return ndimage.maximum_filter(hit, size) if hit.any() else hit


def _connected_to_top(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Select the connected regions of a mask that touch the top of the image, with small holes (wires) closed."""
    closed = ndimage.binary_closing(np.pad(mask, 2, mode="edge"), np.ones((3, 3)))
    labels = np.asarray(ndimage.label(closed)[0])  # pyright: ignore[reportIndexIssue] (the stub lacks the tuple)
    labels = labels[2:-2, 2:-2]
    top = np.unique(labels[:2])
    return np.isin(labels, top[top > 0])
