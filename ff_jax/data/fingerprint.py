"""Fingerprint of a log: a run that is resumed continues on the log that it was started with.

Names and places of files are not part of it, so a log may be moved. Poses are compared up to rounding, because another
machine may compute their last bits differently.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ff_jax.data.lazy_arrays import EncodedImage, Source
from ff_jax.data.scene_data import SceneData
from ff_jax.runtime.untrusted_files import read_file

_NUM_IMAGES = 4  # whose bytes are hashed, spread over the log; of all others, the sizes of the files
_RELATIVE, _ABSOLUTE = 1e-9, 1e-6  # tolerance of the sums over all poses

Array = np.ndarray


def fingerprint(log: SceneData) -> dict[str, Any]:
    """Compute the fingerprint of a log as JSON values; no image is decoded.

    Raises:
        ValueError: an image file cannot be read.
    """
    frames = log.frames
    sources = [source for frame in frames for source in (frame.image, *frame.masks.values())]
    stored = [_stored(source) for source in (*sources, *(sweep.points for sweep in log.sweeps))]
    chosen = sorted({round(i) for i in np.linspace(0, len(frames) - 1, _NUM_IMAGES)}) if frames else []
    return {
        "frames": _digest([[f.camera, f.time_index, f.width, f.height, f.split] for f in frames]),
        "poses": _sums(frame.world_from_camera for frame in frames),
        "intrinsics": _sums(frame.K for frame in frames),
        "sizes of files": _digest([_size(source.path) for source in stored]),
        "images": [_image_digest(_stored(frames[index].image)) for index in chosen],
        "sweeps": _sums(sweep.world_from_lidar for sweep in log.sweeps),
        "boxes": _sums(box.world_from_object for box in log.boxes),
    }


def changed_part(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """Name the first part that differs between two fingerprints; None if they are of the same log."""
    for name, value in now.items():
        earlier = before.get(name)
        is_numbers = value and isinstance(value, list) and isinstance(value[0], float)
        is_same = _is_close(earlier, value) if is_numbers else earlier == value
        if not is_same:
            return name
    return None


def _is_close(earlier: Any, value: list[float]) -> bool:
    try:
        return np.shape(earlier) == np.shape(value) and np.allclose(earlier, value, _RELATIVE, _ABSOLUTE)
    except TypeError:
        return False


def _sums(matrices: Iterable[Float[Array, "n n"]]) -> list[float]:
    """Sum matrices with weights that rise with their number, so that their order counts."""
    stacked = np.array([np.ravel(matrix) for matrix in matrices], float)
    return [] if not len(stacked) else (np.arange(1, len(stacked) + 1) @ stacked / len(stacked)).tolist()


def _stored(source: Source) -> Source:
    """Follow a source to the one that is not computed from another."""
    return source if source.origin is None else _stored(source.origin)


def _size(path: Path | None) -> int:
    return path.stat().st_size if path and path.is_file() else 0


def _image_digest(source: Source) -> str:
    """Hash the bytes of an image that is in a file; images that are computed are part of the program."""
    if isinstance(source, EncodedImage):
        return hashlib.sha256(source.read()).hexdigest()
    return hashlib.sha256(read_file(source.path)).hexdigest() if source.path else ""


def _digest(values: list) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
