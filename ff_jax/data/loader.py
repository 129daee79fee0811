"""Load images, masks and cameras of frames, with undistortion and area scaling.

Everything loaded here is a pinhole image for `frame.K`: a frame with distortion is resampled on load, with
the same K. `scaled` gives frames whose smaller images are computed on load, from the full ones. Nothing is cached
here: the batches of the training keep what they need on the device.
"""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32
from scipy import sparse

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.lenses import undistort
from ff_jax.data.scene_data import MASKS, Frame, SceneData
from ff_jax.render.camera import Camera, Shutter, make_camera

ROUNDING = 1e-3  # by which averages of colors may leave [0, 1]

Array = np.ndarray


def camera_of(frame: Frame) -> Camera:
    """Build the pinhole camera of a frame, with its rolling shutter if it has one."""
    camera = make_camera(frame.K, frame.world_from_camera, frame.width, frame.height)
    if frame.readout is None:
        return camera
    motion = jnp.asarray(frame.readout.motion, jnp.float32)
    direction = "left_to_right" if frame.readout.columns else "top_to_bottom"
    return camera.replace(shutter=Shutter(motion, direction))


def load_image(frame: Frame) -> Float32[Array, "H W 3"]:
    """Load the image of a frame in [0, 1], undistorted.

    Raises:
        ValueError: the file cannot be read, or its size is not that of the frame.
    """
    image = _load(frame, frame.image, (frame.height, frame.width, 3))
    return image if frame.distortion is None else undistort(image, frame.K, frame.distortion)[0]


def load_mask(frame: Frame, kind: str) -> Float32[Array, "H W"]:
    """Load a mask of a frame in [0, 1], undistorted; pixels that undistortion cannot fill are not valid.

    A frame without a mask of that kind gives the default: 0 for "sky" and "dynamic", 1 for "valid".

    Args:
        frame: the frame.
        kind: one of MASKS.

    Raises:
        ValueError: the kind does not exist, the file cannot be read, or its size is not that of the frame.
    """
    if kind not in MASKS:
        raise ValueError(f"invalid mask {kind=}: expected one of {', '.join(MASKS)}.")
    shape = (frame.height, frame.width)
    if kind in frame.masks:
        mask = _load(frame, frame.masks[kind], shape)
    else:
        mask = np.full(shape, float(kind == "valid"), np.float32)
    if frame.distortion is None:
        return mask
    mask, inside = undistort(mask[..., None], frame.K, frame.distortion)
    return mask[..., 0] * inside if kind == "valid" else mask[..., 0]


def scaled(scene: SceneData, factor: float | None = None, width: int | None = None) -> SceneData:
    """Scale the images of a scene down by `factor` (0 < factor <= 1), or to `width` pixels.

    Images are averaged over the area of each new pixel and K is scaled by the exact ratio of the sizes.
    Distorted images are undistorted first, at full size.

    Raises:
        ValueError: not exactly one of the two is set, or it would enlarge an image or leave no pixel.
    """
    if (factor is None) == (width is None):
        raise ValueError(f"invalid {factor=}, {width=}: set exactly one of the two.")
    frames = (_scaled_frame(f, (width or 0) / f.width if factor is None else factor) for f in scene.frames)
    return replace(scene, frames=tuple(frames))


def _scaled_source(frame: Frame, kind: str, width: int, height: int) -> Source:
    """Make the source of the image (kind "image") or of a mask of a frame, averaged down on load."""

    def compute() -> Float32[Array, "h w *c"]:
        array = load_image(frame) if kind == "image" else load_mask(frame, kind)
        return resize_area(array, width, height)

    name = frame.image.name if kind == "image" else f"{kind} mask of {frame.image.name}"
    origin = frame.image if kind == "image" else frame.masks.get(kind)
    return Source(f"{name} at {width}x{height}", compute, origin=origin)


def _scaled_frame(frame: Frame, ratio: float) -> Frame:
    if not 0 < ratio <= 1 or round(frame.width * ratio) < 1 or round(frame.height * ratio) < 1:
        raise ValueError(f"cannot scale {frame.image.name} of {frame.width}x{frame.height} by {ratio}; use (0, 1].")
    new_width, new_height = round(frame.width * ratio), round(frame.height * ratio)
    if (new_width, new_height) == (frame.width, frame.height):
        return frame
    kinds = set(frame.masks) | ({"valid"} if frame.distortion is not None else set())
    return replace(
        frame,
        K=np.diag([new_width / frame.width, new_height / frame.height, 1.0]) @ frame.K,
        width=new_width,
        height=new_height,
        image=_scaled_source(frame, "image", new_width, new_height),
        masks={kind: _scaled_source(frame, kind, new_width, new_height) for kind in sorted(kinds)},
        distortion=None,
    )


def resize_area(array: Float32[Array, "H W *c"], width: int, height: int) -> Float32[Array, "h w *c"]:
    """Average an image over the area that each pixel of the smaller image covers."""
    rows, columns = _area_weights(array.shape[0], height), _area_weights(array.shape[1], width)
    tall = (rows @ array.reshape(array.shape[0], -1)).reshape(height, array.shape[1], -1)
    wide = columns @ tall.swapaxes(0, 1).reshape(array.shape[1], -1)
    result = wide.reshape(width, height, -1).swapaxes(0, 1)
    return np.ascontiguousarray(result.reshape(height, width, *array.shape[2:]), np.float32)


def _area_weights(old: int, new: int) -> sparse.csr_matrix:
    """Build the (new, old) matrix of the share of each old pixel in each new one; rows sum to 1."""
    edges = np.unique(np.concatenate([np.arange(old + 1) / old, np.arange(new + 1) / new]))
    middles, lengths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    index = ((middles * new).astype(int), (middles * old).astype(int))
    return sparse.csr_matrix((lengths * new, index), (new, old), dtype=np.float32)


def _load(frame: Frame, source: Source, shape: tuple[int, ...]) -> Array:
    """Load the pixels of a frame; a bad value is named with its frame here, before it reaches the training."""
    array = source.load()
    where = f"{source.name}: camera {frame.camera!r}, time index {frame.time_index}"
    if array.shape != shape:
        raise ValueError(
            f"{where} expects shape {shape}, but the file has {array.shape}; correct the size of one of them."
        )
    low, high = float(array.min()), float(array.max())  # NaN if any value is
    if not (low >= -ROUNDING and high <= 1 + ROUNDING) or not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{where} has {array.dtype} values from {low} to {high}; expected floats in [0, 1]: scale it.")
    return array
