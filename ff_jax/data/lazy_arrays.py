"""Lazy arrays: images, masks and point sets that are decoded only when `load` is called.

Sources are compared and hashed by identity, so a source can be the key of a cache. All decoding of image, mask and
point files is in this module, and so are the error messages about unreadable files.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Shaped
from PIL import Image, UnidentifiedImageError

from ff_jax.runtime.untrusted_files import check_regular, npz_header, read_json, read_npz, reason

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM")  # that logs have; others have decoders that start programs
_MODES = ("L", "RGB", "I")  # beginnings of the modes of 8 and 16 bits
_MAX_16_BIT = 65_535
MAX_PIXELS = 1 << 26  # of an image; more would need over 1 GB when decoded

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Source:
    """One lazy array: a name and a function that reads, decodes or renders it.

    `compute` returns an image (H, W, 3) float32 in [0, 1], a mask (H, W) float32 in [0, 1] or points (N, 4)
    float32 (x, y, z in meters and intensity), according to the field that holds the source.
    """

    name: str  # for messages: a path, or a description of the computation
    compute: Callable[[], Array]
    path: Path | None = None  # the file, if the array is in one of its own
    origin: "Source | None" = None  # the source that this one is computed from

    def load(self) -> Array:
        """Decode or compute the array, without a cache."""
        return self.compute()


@dataclass(frozen=True, eq=False, init=False)
class ImageFile(Source):
    """A PNG or JPEG file with 8 or 16 bits per channel, loaded as (H, W, 3) float32 in [0, 1]."""

    path: Path = Path()  # set by __init__

    def __init__(self, path: Path):
        super().__init__(str(path), lambda: read_image(path), path)


@dataclass(frozen=True, eq=False, init=False)
class EncodedImage(Source):
    """The bytes of a PNG or JPEG image inside another file, loaded as (H, W, 3) float32 in [0, 1]."""

    read: Callable[[], bytes]

    def __init__(self, name: str, read: Callable[[], bytes]):
        object.__setattr__(self, "read", read)
        super().__init__(name, lambda: decode_image(read(), name))


@dataclass(frozen=True, eq=False, init=False)
class MaskFile(Source):
    """A grayscale image file, loaded as (H, W) float32 in [0, 1]: the share of each pixel that the mask covers."""

    path: Path = Path()  # set by __init__

    def __init__(self, path: Path):
        super().__init__(str(path), lambda: read_mask(path), path)


@dataclass(frozen=True, eq=False, init=False)
class PointFile(Source):
    """An .npz file with `xyz` (N, 3) in meters and optional `intensity` (N,), loaded as (N, 4) float32."""

    path: Path = Path()  # set by __init__

    def __init__(self, path: Path):
        super().__init__(str(path), lambda: read_points(path), path)


def image_size(path: Path) -> tuple[int, int]:
    """Read (width, height) in pixels from the header of an image file, without decoding it.

    Raises:
        ValueError: the file is missing or is not an image.
    """
    check_regular(path)
    with _decoding(path), Image.open(path, formats=FORMATS) as image:
        return image.size


def read_object(path: Path, key: str) -> dict:
    """Read the JSON object in a file; `key` is an entry that it should hold, for the message.

    Raises:
        ValueError: the file is missing, not JSON or not an object.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}, not an object with {key!r}; restore the file.")
    return content


def read_image(path: Path) -> Float32[Array, "H W 3"]:
    """Decode an image file to colors in [0, 1]; grayscale is repeated, an alpha channel is dropped.

    Raises:
        ValueError: the file is missing, truncated or not an image.
    """
    return _colors(_decode(path))


def decode_image(data: bytes, name: str) -> Float32[Array, "H W 3"]:
    """Decode the bytes of an image file to colors in [0, 1]; `name` is their origin, for the message.

    Raises:
        ValueError: the bytes are truncated or not an image.
    """
    with _decoding(name):
        return _colors(_pixels(io.BytesIO(data)))


def read_mask(path: Path) -> Float32[Array, "H W"]:
    """Decode a grayscale image file to [0, 1]; a color image gives its first channel.

    Raises:
        ValueError: the file is missing, truncated or not an image.
    """
    pixels = _decode(path)
    return _to_unit(pixels if pixels.ndim == 2 else pixels[..., 0])


def read_points(path: Path) -> Float32[Array, "N 4"]:
    """Read x, y, z in meters and intensity (0 where the file has none) from an .npz file.

    Raises:
        ValueError: the file is missing, not an .npz file, or lacks `xyz` (N, 3).
    """
    arrays = read_npz(path)
    xyz = arrays.get("xyz")
    if xyz is None or xyz.ndim != 2 or xyz.shape[1] != 3:
        actual = "nothing" if xyz is None else f"shape {xyz.shape}"
        raise ValueError(f"{path}: expected an array 'xyz' of shape (N, 3), found {actual}; write it again.")
    intensity = arrays.get("intensity", np.zeros(len(xyz)))
    if xyz.dtype.kind not in "fiu" or intensity.dtype.kind not in "fiu":
        raise ValueError(f"{path}: xyz holds {xyz.dtype} and intensity {intensity.dtype}; expected numbers.")
    if intensity.shape != (len(xyz),):
        raise ValueError(f"{path}: intensity has shape {intensity.shape} for {len(xyz)} points; make it (N,).")
    return np.concatenate([xyz, intensity[:, None]], 1).astype(np.float32)


def count_points(path: Path) -> int:
    """Count the points of an .npz file from the header of its `xyz`, without decoding it.

    Raises:
        ValueError: the file is missing or not an .npz file, or `xyz` is missing or not of shape (N, 3).
    """
    header = npz_header(path, "xyz")
    if header is None:
        raise ValueError(f"{path}: expected an array 'xyz' of shape (N, 3), found nothing; write it again.")
    shape, dtype = header
    if len(shape) != 2 or shape[1] != 3 or dtype.kind not in "fiu":
        raise ValueError(f"{path}: xyz has shape {shape} of {dtype}; expected (N, 3) numbers: write it again.")
    return shape[0]


def _decode(path: Path) -> Shaped[Array, "..."]:
    """Decode an image file to its stored integers."""
    check_regular(path)
    with _decoding(path):
        return _pixels(path)


def _pixels(file: Path | io.BytesIO) -> Shaped[Array, "..."]:
    with Image.open(file, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width}x{image.height} pixels are more than {MAX_PIXELS}")
        if image.mode in ("P", "1", "CMYK", "YCbCr", "HSV"):
            image = image.convert("L" if image.mode == "1" else "RGB")
        if image.mode == "LAB" or not image.mode.startswith(_MODES):
            raise ValueError(f"pixels of the mode {image.mode}, which says no range of colors")
        pixels = np.asarray(image)
    if pixels.dtype == np.int32 and not (pixels.min() >= 0 and pixels.max() <= _MAX_16_BIT):
        raise ValueError(f"values from {pixels.min()} to {pixels.max()} are more than 16 bits")
    return pixels


@contextmanager
def _decoding(name: Path | str) -> Iterator[None]:
    """Convert any error of Pillow to one sentence: its decoders raise a dozen types for damaged files."""
    try:
        yield
    except Exception as error:
        what = "no image of a known format" if isinstance(error, UnidentifiedImageError) else reason(error)
        raise ValueError(
            f"{name}: cannot be read ({what}); the file is damaged or of another type: restore it."
        ) from error


def _colors(pixels: Shaped[Array, "..."]) -> Float32[Array, "H W 3"]:
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, -1)
    return _to_unit(pixels[..., :3] if pixels.shape[-1] >= 3 else np.repeat(pixels[..., :1], 3, -1))


def _to_unit(pixels: Shaped[Array, "..."]) -> Float32[Array, "..."]:
    # Pillow opens 16-bit gray images as 32-bit integers whose values still end at 65535.
    maximum = 255.0 if pixels.dtype == np.uint8 else float(_MAX_16_BIT)
    return pixels.astype(np.float32) / np.float32(maximum)
