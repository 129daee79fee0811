"""Position and time in the EXIF tags of an image."""

import re
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ff_jax.runtime.untrusted_files import check_regular

_EXIF, _GPS = 0x8769, 0x8825  # groups of tags
_DATE, _FRACTION, _ZONE = 36867, 37521, 36881


class Fix(NamedTuple):
    """One position on the Earth."""

    latitude: float  # degrees
    longitude: float  # degrees
    altitude: float = np.nan  # meters
    time: float = np.nan  # seconds since 1970, UTC
    name: str = ""  # of an image


class ExifTime(NamedTuple):
    """The time of an image."""

    seconds: float  # since 1970, in the zone of the clock of the camera if that is unknown
    has_zone: bool


def _tags(path: Path, group: int) -> dict:
    """Read a group of the EXIF tags of an image; empty if there is none."""
    try:
        check_regular(path)
        with Image.open(path) as image:
            return dict(image.getexif().get_ifd(group))
    except Exception:  # damaged tags may raise anything, and are none
        return {}


def exif_fix(path: Path) -> Fix | None:
    """Read the position of an image; None if it has none."""
    tags = _tags(path, _GPS)
    try:
        latitude, longitude = (float(np.dot([float(part) for part in tags[n]], (1, 1 / 60, 1 / 3600))) for n in (2, 4))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    latitude *= -1 if str(tags.get(1, "N")).upper().startswith("S") else 1
    longitude *= -1 if str(tags.get(3, "E")).upper().startswith("W") else 1
    try:
        altitude = float(tags[6]) * (-1 if tags.get(5) in (1, b"\1") else 1)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        altitude = np.nan
    is_place = abs(latitude) <= 90 and abs(longitude) <= 180 and (latitude, longitude) != (0, 0)  # zeros: no reception
    return Fix(latitude, longitude, altitude) if is_place else None


def exif_time(path: Path) -> ExifTime | None:
    """Read the time of an image; None if it has none."""
    tags = _tags(path, _EXIF)
    try:
        text = str(tags[_DATE]).strip().replace(":", "-", 2).replace(" ", "T")
        fraction = re.sub(r"\D", "", str(tags.get(_FRACTION, ""))) or "0"
        zone = str(tags.get(_ZONE, "")).strip()
        return ExifTime(seconds(f"{text}{zone}") + float(f"0.{fraction}"), bool(zone))
    except (KeyError, ValueError):
        return None


def seconds(text: str) -> float:
    """Convert a date to seconds since 1970; without a zone it is UTC."""
    date = datetime.fromisoformat(text)
    return (date if date.tzinfo else datetime.fromisoformat(f"{text}+00:00")).timestamp()
