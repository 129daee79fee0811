"""Parse the files of a COLMAP model, text or binary (https://colmap.github.io/format.html)."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from ff_jax.data import lenses
from ff_jax.runtime.untrusted_files import read_file, reason

# By their number in binary files; the lenses of the others are in `lenses.MODELS`.
MODELS: Mapping[int, str] = {
    0: "SIMPLE_PINHOLE",
    1: "PINHOLE",
    2: "SIMPLE_RADIAL",
    3: "RADIAL",
    4: "OPENCV",
    5: "OPENCV_FISHEYE",
    6: "FULL_OPENCV",
    7: "FOV",
    8: "SIMPLE_RADIAL_FISHEYE",
    9: "RADIAL_FISHEYE",
    10: "THIN_PRISM_FISHEYE",
    11: "RAD_TAN_THIN_PRISM_FISHEYE",
}

MAX_NAME = 1024  # characters of the path of an image
OPTIONAL = "points3D"  # the file that a model may lack
MAX_POSE = 1e9  # larger quaternions and translations are damage; so are quaternions below its inverse

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

    The points are optional. The parameters of a camera of unknown model are left out.

    Raises:
        ValueError: a file is missing or damaged.
    """
    suffix = ".bin" if (folder / "cameras.bin").is_file() else ".txt"
    parsers = _BINARY if suffix == ".bin" else _TEXT
    parsed = []
    for stem, parse in parsers.items():
        path = folder / (stem + suffix)
        if stem == OPTIONAL and not path.is_file():
            parsed.append((np.zeros((0, 3)), np.zeros((0, 3), np.uint8)))
            continue
        data = read_file(path)
        try:
            parsed.append(parse(data))
        except (struct.error, IndexError, OverflowError, ValueError) as error:
            raise ValueError(
                f"{path}: cannot be read as a COLMAP model ({reason(error)}); correct or restore the file."
            ) from error
    cameras, images, (xyz, rgb) = parsed
    _check_poses(folder / f"images{suffix}", images)
    return cameras, images, xyz, rgb


def _check_poses(path: Path, images: Sequence[ModelImage]) -> None:
    """Raise a ValueError that names the first image whose pose is not a pose."""
    poses = np.array([(*image.quaternion, *image.translation) for image in images], float).reshape(-1, 7)
    size = np.abs(poses[:, :4]).max(1, initial=0)
    wrong = ~((size > 1 / MAX_POSE) & (np.abs(poses).max(1, initial=0) < MAX_POSE))  # also where it is not a number
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{path}: the pose of image {images[row].name} is invalid ({' '.join(f'{x:g}' for x in poses[row])}); "
            "correct or restore the file."
        )


def count_images(folder: Path) -> int:
    """Count the images of a model; 0 if their file is damaged.

    Raises:
        ValueError: the file is missing.
    """
    if (folder / "images.bin").is_file():
        return int.from_bytes(read_file(folder / "images.bin")[:8], "little")
    try:
        return len(_text_images(read_file(folder / "images.txt")))
    except (IndexError, ValueError):
        return 0


def _lines(data: bytes) -> Iterator[str]:
    """Iterate over the lines that are no comments; blank ones are among them."""
    return (line for line in decode(data).splitlines() if not line.startswith("#"))


def decode(data: bytes) -> str:
    """Decode text in UTF-8, or in the code of western systems."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _text_cameras(data: bytes) -> dict[int, ModelCamera]:
    cameras = {}
    for words in map(str.split, filter(str.strip, _lines(data))):
        cameras[int(words[0])] = ModelCamera(words[1], int(words[2]), int(words[3]), tuple(map(float, words[4:])))
    return cameras


def _text_images(data: bytes) -> list[ModelImage]:
    """Read the images; each has a line of observations, which may be empty, and blank lines may precede it."""
    images, lines = [], _lines(data)
    for line in lines:
        if line.strip():
            words = line.split(maxsplit=9)
            values = tuple(map(float, words[1:8]))
            images.append(ModelImage(words[9].strip(), int(words[8]), values[:4], values[4:]))
            if _is_image(next(lines, "")):
                raise ValueError(f"image {words[9]} is not followed by a line of observations, which may be blank")
    return images


def _is_image(line: str) -> bool:
    """Test whether a line ends with a name, which a line of observations does not."""
    words = line.split(maxsplit=9)
    try:
        float(words[-1].split()[0] if words else 0)
        return False
    except ValueError:
        return True


def _text_points(data: bytes) -> tuple[Float[Array, "N 3"], UInt8[Array, "N 3"]]:
    rows = [[float(word) for word in line.split(maxsplit=7)[1:7]] for line in _lines(data) if line.strip()]
    table = np.array(rows, float).reshape(-1, 6)
    return table[:, :3], table[:, 3:].astype(np.uint8)


def _binary_cameras(data: bytes) -> dict[int, ModelCamera]:
    (count,), position, cameras = struct.unpack_from("<Q", data), 8, {}
    for _ in range(count):
        number, model, width, height = struct.unpack_from("<iiQQ", data, position)
        name = MODELS.get(model, f"number {model}")
        if name not in lenses.MODELS:  # of unknown length, so the cameras behind it cannot be read
            return cameras | {number: ModelCamera(name, width, height, ())}
        parameters = struct.unpack_from(f"<{len(lenses.MODELS[name])}d", data, position + 24)
        cameras[number] = ModelCamera(name, width, height, parameters)
        position += 24 + 8 * len(parameters)
    return cameras


def _binary_images(data: bytes) -> list[ModelImage]:
    (count,), position, images = struct.unpack_from("<Q", data), 8, []
    for _ in range(count):
        values = struct.unpack_from("<I7dI", data, position)
        end = data.index(b"\0", position + 64)
        (observations,) = struct.unpack_from("<Q", data, end + 1)
        name = decode(data[position + 64 : end])
        if not name.isprintable() or len(name) > MAX_NAME:
            raise ValueError(f"the name of image {values[0]} is no text")
        images.append(ModelImage(name, values[8], values[1:5], values[5:8]))
        position = end + 9 + 24 * observations
    return images


def _binary_points(data: bytes) -> tuple[Float[Array, "N 3"], UInt8[Array, "N 3"]]:
    (count,), position = struct.unpack_from("<Q", data), 8
    if 51 * count > len(data):
        raise ValueError(f"it has {len(data)} bytes for {count} points")
    starts, read_length = np.zeros(count, np.int64), struct.Struct("<Q").unpack_from
    for row in range(count):  # number, x, y, z, red, green, blue, error, and a track of known length
        starts[row] = position
        position += 51 + 8 * read_length(data, position + 43)[0]
    table = np.frombuffer(data, np.uint8)[starts[:, None] + np.arange(8, 35)]
    return np.ascontiguousarray(table[:, :24]).view("<f8"), table[:, 24:]


_TEXT = {"cameras": _text_cameras, "images": _text_images, "points3D": _text_points}
_BINARY = {"cameras": _binary_cameras, "images": _binary_images, "points3D": _binary_points}
