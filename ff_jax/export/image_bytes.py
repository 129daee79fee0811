"""Encode pictures: 8-bit rounding, PNG files, JPEG bytes and data URLs."""

import base64
import io
from pathlib import Path

import numpy as np
from jaxtyping import ArrayLike, Shaped, UInt8, UInt16
from PIL import Image

from ff_jax.runtime.atomic_files import atomic_write

Picture = Shaped[ArrayLike, "H W 3"]  # colors in [0, 1], or uint8
LOSSLESS_PIXELS = 600_000  # larger pictures are JPEG in pages, to keep pages small


def to_uint8(picture: Picture) -> UInt8[np.ndarray, "H W 3"]:
    """Convert a picture with colors in [0, 1] to uint8; values out of range are clipped, NaN is black."""
    picture = np.asarray(picture)
    if picture.dtype == np.uint8:
        return picture
    if not np.issubdtype(picture.dtype, np.floating):
        raise ValueError(f"invalid picture of {picture.dtype}: expected float in [0, 1] or uint8")
    return np.round(np.clip(np.nan_to_num(picture), 0, 1) * 255).astype(np.uint8)


def save_png(path: str | Path, picture: Picture) -> None:
    """Write a picture as PNG, atomically."""
    with atomic_write(path) as temporary:
        Image.fromarray(to_uint8(picture)).save(temporary, format="png")


def jpeg(picture: Picture, quality: int = 85) -> bytes:
    """Encode a picture as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(picture)).save(buffer, format="jpeg", quality=quality)
    return buffer.getvalue()


def png(picture: Picture) -> bytes:
    """Encode a picture as PNG, quickly rather than small."""
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(picture)).save(buffer, format="png", compress_level=1)
    return buffer.getvalue()


def gray16_png(levels: UInt16[np.ndarray, "H W"]) -> bytes:
    """Encode a map of 16-bit levels as a gray PNG."""
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, format="png")
    return buffer.getvalue()


def data_url(picture: Picture) -> str:
    """Encode a picture as a `data:` URL for a page: PNG, or JPEG of high quality if it is large."""
    pixels = to_uint8(picture)
    buffer = io.BytesIO()
    if pixels.shape[0] * pixels.shape[1] <= LOSSLESS_PIXELS:
        kind = "png"
        Image.fromarray(pixels).save(buffer, format="png", optimize=True)
    else:
        kind = "jpeg"
        Image.fromarray(pixels).save(buffer, format="jpeg", quality=93, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
