"""Encode rendered images in the formats that a request may name."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from ff_jax.export.image_bytes import gray16_png, png
from ff_jax.simulation.errors import RequestError
from ff_jax.simulation.messages import number

FORMATS = ("PNG", "JPEG", "RGB_UINT8_PLANAR")
DEFAULT_QUALITY = 95  # of JPEG, where a request has none


class Encoding(NamedTuple):
    """How to encode an image."""

    format: str  # one of FORMATS
    quality: int = DEFAULT_QUALITY  # of JPEG, 1 to 100


def encoding_of(image_format: int, image_quality: float) -> Encoding:
    """Select the encoding of a request; an undefined format is PNG, quality 0 is `DEFAULT_QUALITY`.

    Raises:
        RequestError: the format is not supported, or the quality is out of range.
    """
    numbers = {number("ImageFormat", name): name for name in FORMATS} | {number("ImageFormat", "UNDEFINED"): "PNG"}
    if image_format not in numbers:
        raise RequestError(
            f"image_format={image_format} is not supported: expected one of {', '.join(FORMATS)}.", "UNIMPLEMENTED"
        )
    if image_quality != 0 and not 1 <= image_quality <= 100:  # true for NaN
        raise RequestError(f"invalid image_quality={image_quality:g}: expected 1 to 100, or 0 for {DEFAULT_QUALITY}.")
    return Encoding(numbers[image_format], round(image_quality) or DEFAULT_QUALITY)


def encode(image: UInt8[np.ndarray, "H W 3"], encoding: Encoding) -> bytes:
    """Encode an image; RGB_UINT8_PLANAR is all red bytes, then green, then blue."""
    if encoding.format == "RGB_UINT8_PLANAR":
        return np.ascontiguousarray(image.transpose(2, 0, 1)).tobytes()
    return png(image) if encoding.format == "PNG" else _jpeg(image, encoding.quality)


def _jpeg(image: UInt8[np.ndarray, "H W 3"], quality: int) -> bytes:
    """Encode a JPEG with half the resolution for color, without the interpreter's lock, which Pillow holds."""
    import simplejpeg  # an optional dependency, like the server

    return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=quality, colorsubsampling="420")


def encode_eig(eig: Float[np.ndarray, "H W"]) -> tuple[bytes, float]:
    """Encode an EIG map (nats) as a 16-bit PNG; return it with the nats of one level."""
    nats_per_level = float(eig.max()) / 65_535 or 1.0
    return gray16_png(np.round(np.clip(eig / nats_per_level, 0, 65_535)).astype(np.uint16)), nats_per_level
