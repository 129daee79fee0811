"""Parse the files of a COLMAP model, text or binary (https://colmap.github.io/format.html)."""

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from ff_jax.data.lazy_arrays import read_file

MODELS = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")  # by their number in binary files
PARAMETERS = {"SIMPLE_PINHOLE": 3, "PINHOLE": 4, "SIMPLE_RADIAL": 4, "RADIAL": 5, "OPENCV": 8}

Array = np.ndarray


class ModelCamera(NamedTuple):
    """One camera: its model, size in pixels and parameters in COLMAP's order."""

    model: str
    width: int
    height: int
    parameters: tuple[float, ...]


class ModelImage(NamedTuple):
    """One image: name, camera, and rotation (w, x, y, z) and translation of camera_from_world."""

    name: str
    camera: int
    quaternion: tuple[float, ...]
    translation: tuple[float, ...]


def read_model(
    folder: Path,
) -> tuple[dict[int, ModelCamera], list[ModelImage], Float[Array, "N 3"], UInt8[Array, "N 3"]]:
    """Read the cameras by number, the images, and the points and their colors of the model in `folder`.

    Raises:
        ValueError: a file is missing or damaged, or a camera model is not supported.
    """
    suffix = ".bin" if (folder / "cameras.bin").is_file() else ".txt"
    parsers = _BINARY if suffix == ".bin" else _TEXT
    parsed = []
    for stem, parse in parsers.items():
        path = folder / (stem + suffix)
        data = read_file(path)
        try:
            parsed.append(parse(data))
        except (struct.error, IndexError, OverflowError, ValueError) as error:
            raise ValueError(f"{path}: cannot be read as a COLMAP model ({error}); restore the file.") from error
    cameras, images, (xyz, rgb) = parsed
    return cameras, images, xyz, rgb


def _lines(data: bytes) -> list[str]:
    return [line for line in data.decode().splitlines() if not line.startswith("#")]


def _text_cameras(data: bytes) -> dict[int, ModelCamera]:
    cameras = {}
    for words in map(str.split, filter(str.strip, _lines(data))):
        if len(words) - 4 != PARAMETERS.get(words[1]):
            raise ValueError(f"camera model {' '.join(words[1:])} is none of {', '.join(MODELS)}")
        cameras[int(words[0])] = ModelCamera(words[1], int(words[2]), int(words[3]), tuple(map(float, words[4:])))
    return cameras


def _text_images(data: bytes) -> list[ModelImage]:
    images = []
    for line in _lines(data)[::2]:  # every second line holds the observations of the image, and may be empty
        words = line.split(maxsplit=9)
        if words:
            values = tuple(map(float, words[1:8]))
            images.append(ModelImage(words[9], int(words[8]), values[:4], values[4:]))
    return images


def _text_points(data: bytes) -> tuple[Float[Array, "N 3"], UInt8[Array, "N 3"]]:
    rows = [[float(word) for word in line.split()[1:7]] for line in _lines(data) if line.strip()]
    table = np.array(rows, float).reshape(-1, 6)
    return table[:, :3], table[:, 3:].astype(np.uint8)


def _binary_cameras(data: bytes) -> dict[int, ModelCamera]:
    (count,), position, cameras = struct.unpack_from("<Q", data), 8, {}
    for _ in range(count):
        number, model, width, height = struct.unpack_from("<iiQQ", data, position)
        if not 0 <= model < len(MODELS):
            raise ValueError(f"camera model number {model} is none of {', '.join(MODELS)}")
        name = MODELS[model]
        parameters = struct.unpack_from(f"<{PARAMETERS[name]}d", data, position + 24)
        cameras[number] = ModelCamera(name, width, height, parameters)
        position += 24 + 8 * len(parameters)
    return cameras


def _binary_images(data: bytes) -> list[ModelImage]:
    (count,), position, images = struct.unpack_from("<Q", data), 8, []
    for _ in range(count):
        values = struct.unpack_from("<I7dI", data, position)
        end = data.index(b"\0", position + 64)
        (observations,) = struct.unpack_from("<Q", data, end + 1)
        images.append(ModelImage(data[position + 64 : end].decode(), values[8], values[1:5], values[5:8]))
        position = end + 9 + 24 * observations
    return images


def _binary_points(data: bytes) -> tuple[Float[Array, "N 3"], UInt8[Array, "N 3"]]:
    (count,), position = struct.unpack_from("<Q", data), 8
    if 51 * count > len(data):
        raise ValueError(f"it has {len(data)} bytes for {count} points")
    xyz, rgb = np.zeros((count, 3)), np.zeros((count, 3), np.uint8)
    for row in range(count):
        values = struct.unpack_from("<Q3d3BdQ", data, position)
        xyz[row], rgb[row] = values[1:4], values[4:7]
        position += 51 + 8 * values[8]
    return xyz, rgb


_TEXT = {"cameras": _text_cameras, "images": _text_images, "points3D": _text_points}
_BINARY = {"cameras": _binary_cameras, "images": _binary_images, "points3D": _binary_points}
