"""Pictures as bytes: 8-bit rounding, PNG files and data addresses for pages."""

import base64
import io
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import ArrayLike, Float, Shaped, UInt8
from PIL import Image

from ff_jax.runtime.atomic_files import replacing

Picture = Shaped[ArrayLike, "H W 3"]  # colours in [0, 1], or uint8
LOSSLESS_PIXELS = 600_000  # larger pictures go into pages as JPEG, or the page grows beyond what a phone loads


def to_uint8(picture: Picture) -> UInt8[np.ndarray, "H W 3"]:
    """Return a picture with colours in [0, 1] as uint8; out of range clips, NaN is black."""
    picture = np.asarray(picture)
    if picture.dtype == np.uint8:
        return picture
    if not np.issubdtype(picture.dtype, np.floating):
        raise ValueError(f"pictures are float in [0, 1] or uint8, got {picture.dtype}")
    return np.round(np.clip(np.nan_to_num(picture), 0, 1) * 255).astype(np.uint8)


def heat(values: Float[ArrayLike, "H W"], maximum: float | int, minimum: float | int = 0) -> UInt8[np.ndarray, "H W 3"]:
    """Return a map as colours of "inferno": `minimum` and less is black, `maximum` and more pale yellow."""
    scaled = (np.asarray(values, np.float64) - minimum) / max(maximum - minimum, 1e-12)
    return matplotlib.colormaps["inferno"](np.clip(np.nan_to_num(scaled), 0, 1), bytes=True)[..., :3]


def save_png(path: str | Path, picture: Picture) -> None:
    """Write a picture as PNG; the file appears whole or not at all."""
    with replacing(path) as temporary:
        Image.fromarray(to_uint8(picture)).save(temporary, format="png")


def jpeg(picture: Picture, quality: int = 85) -> bytes:
    """Return a picture as the bytes of a JPEG file, small enough to be stored in a notebook."""
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(picture)).save(buffer, format="jpeg", quality=quality)
    return buffer.getvalue()


def data_address(picture: Picture) -> str:
    """Return a picture as a `data:` address for a page: PNG, or JPEG of high quality where it is large."""
    pixels = to_uint8(picture)
    buffer = io.BytesIO()
    if pixels.shape[0] * pixels.shape[1] <= LOSSLESS_PIXELS:
        kind = "png"
        Image.fromarray(pixels).save(buffer, format="png", optimize=True)
    else:
        kind = "jpeg"
        Image.fromarray(pixels).save(buffer, format="jpeg", quality=93, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
