"""Sky masks: from a segmentation network, or from colour and LiDAR where there is none."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import ndimage

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.points.visibility import project_points
from ff_jax.data.scene_data import Frame, SceneData
from ff_jax.runtime.onnx_model import OnnxNetwork
from ff_jax.runtime.resize import resize_bilinear

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet, as such networks expect
SMOOTH = 0.02  # change of brightness per pixel (at sigma 1.5 px) that clouds stay below
BRIGHT = 0.75  # brightness of clouds, or blue beyond red by `BLUE`
BLUE = 0.06
EDGE = 3  # pixels that the smoothed gradient keeps away from outlines
AROUND_RETURN = 0.012  # image widths around a LiDAR return that cannot be sky: beams are far apart

# (image (H, W, 3) in [0, 1], frame) -> probability of sky (H, W)
Segment = Callable[[Float[np.ndarray, "H W 3"], Frame], Float32[np.ndarray, "H W"]]


def with_sky(scene: SceneData, segment: Segment) -> SceneData:
    """Return the log with a sky mask for every frame that has none, made when it is loaded."""

    def masked(frame: Frame) -> Frame:
        if "sky" in frame.masks:
            return frame
        compute = lambda: (segment(frame.image.load(), frame) > 0.5).astype(np.float32)
        return replace(frame, masks={**frame.masks, "sky": Source(f"sky of {frame.image.name}", compute)})

    return replace(scene, frames=tuple(masked(frame) for frame in scene.frames))


def by_network(network: OnnxNetwork) -> Segment:
    """Return a segmenter from a network with one image in (1, 3, h, w, ImageNet's normalization) and the sky's
    probability out (1, 1, h, w), such as U2-Net.

    Raises:
        ValueError: the network's input has another form.
    """
    spec = network.inputs[0]
    if len(network.inputs) != 1 or len(spec.shape) != 4 or spec.shape[1] != 3 or None in spec.shape[2:]:
        raise ValueError(f"{network.path} takes {spec.name} of shape {spec.shape}, not one image (1, 3, h, w).")

    def segment(image: Float[np.ndarray, "H W 3"], frame: Frame) -> Float32[np.ndarray, "H W"]:
        del frame
        small = (resize_bilinear(image, *spec.shape[2:]) - MEAN) / STD
        (out, *_) = network.run({spec.name: small.transpose(2, 0, 1)[None].astype(np.float32)})
        return resize_bilinear(out[0, 0], *image.shape[:2])

    return segment


def by_color(scene: SceneData) -> Segment:
    """Return a segmenter without a network: what is bright or blue, smooth, reaches the top, and no LiDAR hits."""
    sweeps = {}
    for sweep in scene.sweeps:
        sweeps.setdefault(sweep.time_index, []).append(sweep)

    def segment(image: Float[np.ndarray, "H W 3"], frame: Frame) -> Float32[np.ndarray, "H W"]:
        grey = image.mean(-1)
        light = (grey > BRIGHT) | (image[..., 2] - image[..., 0] > BLUE)
        smooth = ndimage.gaussian_gradient_magnitude(grey, 1.5) < SMOOTH
        free = light & smooth & ~_near_returns(sweeps.get(frame.time_index, ()), frame)
        core = _from_the_top(free)
        return (ndimage.binary_dilation(core, iterations=EDGE, mask=light) | core).astype(np.float32)

    return segment


def _near_returns(sweeps, frame: Frame) -> Bool[np.ndarray, "H W"]:
    """Return the pixels near a LiDAR return of the frame's time."""
    hit = np.zeros((frame.height, frame.width), bool)
    for sweep in sweeps:
        pixels, _, inside = project_points(frame, sweep.load_world().astype(float))
        column, row = pixels[inside].astype(int).T
        hit[row, column] = True
    size = 2 * max(round(AROUND_RETURN * frame.width), 1) + 1
    return ndimage.maximum_filter(hit, size) if hit.any() else hit


def _from_the_top(free: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Return the connected parts of `free` that reach the top of the image, with small holes (wires) closed."""
    labels, _ = ndimage.label(ndimage.binary_closing(np.pad(free, 2, mode="edge"), np.ones((3, 3))))
    labels = labels[2:-2, 2:-2]
    top = np.unique(labels[:2])
    return np.isin(labels, top[top > 0])
