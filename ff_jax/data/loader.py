"""Load images, masks and cameras of frames: undistortion, area scaling and a cache bound by bytes.

Everything loaded here is a pinhole image for `frame.K`: a frame with distortion is resampled on load, with
the same K. `scaled` returns frames whose smaller images are made on load, from the full ones.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import ndimage, sparse

from ff_jax.data.lazy_arrays import Source
from ff_jax.data.scene_data import MASKS, Frame, SceneData
from ff_jax.render.camera import Camera, Shutter, make_camera

Array = np.ndarray


def camera_of(frame: Frame) -> Camera:
    """Return the pinhole camera of a frame, with its rolling shutter if it has one."""
    camera = make_camera(frame.K, frame.world_from_camera, frame.width, frame.height)
    if frame.readout is None:
        return camera
    motion = jnp.asarray(frame.readout.motion, jnp.float32)
    return camera.replace(shutter=Shutter(motion, frame.readout.columns))


def load_image(frame: Frame) -> Float32[Array, "H W 3"]:
    """Load the image of a frame in [0, 1], undistorted.

    Raises:
        ValueError: the file cannot be read, or its size is not that of the frame.
    """
    image = _load(frame, frame.image, (frame.height, frame.width, 3))
    return image if frame.distortion is None else undistort(image, frame.K, frame.distortion)[0]


def load_mask(frame: Frame, kind: str) -> Float32[Array, "H W"]:
    """Load a mask of a frame in [0, 1], undistorted; pixels that undistortion cannot fill are not valid.

    Without a mask of that kind the result says "not sky", "not dynamic", and "valid" wherever the image is.

    Raises:
        ValueError: the kind does not exist, the file cannot be read, or its size is not that of the frame.
    """
    if kind not in MASKS:
        raise ValueError(f"mask {kind=} does not exist; use one of {', '.join(MASKS)}.")
    shape = (frame.height, frame.width)
    if kind in frame.masks:
        mask = _load(frame, frame.masks[kind], shape)
    else:
        mask = np.full(shape, float(kind == "valid"), np.float32)
    if frame.distortion is None:
        return mask
    mask, inside = undistort(mask[..., None], frame.K, frame.distortion)
    return mask[..., 0] * inside if kind == "valid" else mask[..., 0]


class Loader:
    """Load images and masks as the functions of this module do, and keep the last ones used; threads may share one.

    Args:
        max_bytes: what the kept arrays may take; the least recently used ones are dropped first.
    """

    def __init__(self, max_bytes: int = 4 << 30):
        if max_bytes < 0:
            raise ValueError(f"{max_bytes=} must not be negative; use 0 to keep nothing.")
        self.max_bytes = max_bytes
        self.bytes = 0
        self._kept: OrderedDict[tuple[Frame, str], Array] = OrderedDict()
        self._lock = threading.Lock()

    def image(self, frame: Frame) -> Float32[Array, "H W 3"]:
        """Return `load_image(frame)`, as a read-only array."""
        return self._get(frame, "image")

    def mask(self, frame: Frame, kind: str) -> Float32[Array, "H W"]:
        """Return `load_mask(frame, kind)`, as a read-only array."""
        return self._get(frame, kind)

    def _get(self, frame: Frame, kind: str) -> Array:
        key = (frame, kind)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        array = load_image(frame) if kind == "image" else load_mask(frame, kind)
        array.setflags(write=False)
        with self._lock:
            self.bytes += array.nbytes - (self._kept[key].nbytes if key in self._kept else 0)
            self._kept[key] = array
            while self.bytes > self.max_bytes:
                self.bytes -= self._kept.popitem(last=False)[1].nbytes
        return array


def scaled(scene: SceneData, factor: float | None = None, width: int | None = None) -> SceneData:
    """Return the scene with smaller images: by `factor` (0 < factor <= 1), or `width` pixels wide.

    Images are averaged over the area of each new pixel and K is scaled by the exact ratio of the sizes.
    Distorted images are undistorted first, at full size.

    Raises:
        ValueError: not exactly one of the two is given, or it would enlarge an image or leave no pixel.
    """
    if (factor is None) == (width is None):
        raise ValueError(f"{factor=} and {width=}: give exactly one of the two.")
    return replace(scene, frames=tuple(_scaled_frame(frame, factor, width) for frame in scene.frames))


@dataclass(frozen=True, eq=False, init=False)
class Rescaled(Source):
    """What `load_image` (kind "image") or `load_mask` gives for `frame`, averaged down to a smaller size."""

    def __init__(self, frame: Frame, kind: str, width: int, height: int):
        def compute() -> Float32[Array, "h w *c"]:
            array = load_image(frame) if kind == "image" else load_mask(frame, kind)
            return resize_area(array, width, height)

        name = frame.image.name if kind == "image" else f"{kind} mask of {frame.image.name}"
        super().__init__(f"{name} at {width}x{height}", compute)


def _scaled_frame(frame: Frame, factor: float | None, width: int | None) -> Frame:
    ratio = factor if factor is not None else width / frame.width
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
        image=Rescaled(frame, "image", new_width, new_height),
        masks={kind: Rescaled(frame, kind, new_width, new_height) for kind in sorted(kinds)},
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
    """Return the (new, old) matrix of the share of each old pixel in each new one; rows sum to 1."""
    edges = np.unique(np.concatenate([np.arange(old + 1) / old, np.arange(new + 1) / new]))
    middles, lengths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    index = ((middles * new).astype(int), (middles * old).astype(int))
    return sparse.csr_matrix((lengths * new, index), (new, old), dtype=np.float32)


def undistort(
    image: Float32[Array, "H W C"], K: Float[Array, "3 3"], distortion: Float[Array, "5"]
) -> tuple[Float32[Array, "H W C"], Bool[Array, "H W"]]:
    """Resample a distorted image to the pinhole image of the same K, bilinearly.

    Returns:
        The image and where the distorted image covers it; elsewhere the nearest edge colour is repeated.
    """
    height, width = image.shape[:2]
    v, u = np.mgrid[:height, :width] + 0.5
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]], -1)
    x, y = np.moveaxis(distort(rays, distortion), -1, 0)
    u, v = K[0, 0] * x + K[0, 2], K[1, 1] * y + K[1, 2]
    inside = (u >= 0) & (u <= width) & (v >= 0) & (v <= height)
    # Array index 0 is the pixel centre at .5.
    at = np.stack([v - 0.5, u - 0.5])
    channels = [ndimage.map_coordinates(image[..., c], at, order=1, mode="nearest") for c in range(image.shape[-1])]
    return np.stack(channels, -1), inside


def distort(rays: Float[Array, "*n 2"], distortion: Float[Array, "5"]) -> Float[Array, "*n 2"]:
    """Apply the OpenCV model (k1, k2, p1, p2, k3) to normalised image coordinates (x/z, y/z)."""
    k1, k2, p1, p2, k3 = distortion
    x, y = rays[..., 0], rays[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        -1,
    )


def _load(frame: Frame, source: Source, shape: tuple[int, ...]) -> Array:
    array = source.load()
    if array.shape != shape:
        raise ValueError(
            f"{source.name}: camera {frame.camera!r}, time index {frame.time_index} expects shape "
            f"{shape}, found {array.shape}; correct the width and height of the frame, or the file."
        )
    return array
