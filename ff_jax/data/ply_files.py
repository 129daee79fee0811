"""Open PLY files that may be damaged: counts are checked against the size of the file before anything is decoded."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from plyfile import PlyData, PlyElement

from ff_jax.data.scene_data import SparsePoints
from ff_jax.runtime.untrusted_files import UnreadableFileError, check_regular, reason

MAX_HEADER = 1 << 16  # bytes

Array = np.ndarray


class PlyHeader(NamedTuple):
    """What the header of a PLY file says."""

    elements: Mapping[str, int]  # their numbers by name
    properties: Mapping[str, tuple[str, ...]]  # names by element
    comments: tuple[str, ...]


def read_header(path: str | Path) -> PlyHeader:
    """Read the header of a PLY file, and check that the file can hold what it claims.

    Raises:
        UnreadableFileError: the file is missing, special, or no PLY file, or is too small for its header.
    """
    size = check_regular(path)
    try:
        with open(path, "rb") as file:
            head = file.read(MAX_HEADER)
    except OSError as error:
        raise UnreadableFileError(f"{path}: cannot be read ({error.strerror}); restore the file.") from error
    begin, end, _ = re.split(rb"(end_header\r?\n?)", head, maxsplit=1) if b"end_header" in head else (b"", b"", b"")
    if not end or not begin.startswith(b"ply"):
        raise UnreadableFileError(f"{path} is not a PLY file: its header is missing; use another file.")
    elements: dict[str, int] = {}
    properties: dict[str, tuple[str, ...]] = {}
    comments = []
    for line in begin.decode("latin-1").splitlines():
        word, _, rest = line.strip().partition(" ")
        words = rest.split()
        if word == "comment":
            comments.append(rest)
        elif word == "element" and len(words) == 2 and words[1].isdecimal():
            elements[words[0]] = int(words[1])
            properties[words[0]] = ()
        elif word == "property" and elements and len(words) > 1:
            name = next(reversed(elements))
            properties[name] += (words[-1],)
    for name, count in elements.items():
        if count > size:  # each needs at least one byte
            raise UnreadableFileError(f"{path}: {size} bytes cannot hold {count} elements {name!r}; restore the file.")
    return PlyHeader(elements, properties, tuple(comments))


def open_ply(path: str | Path) -> PlyData:
    """Read a PLY file, ASCII or binary.

    Raises:
        UnreadableFileError: the file is missing, special, damaged or no PLY file.
    """
    read_header(path)
    try:
        return PlyData.read(str(path))
    except Exception as error:  # a damaged file may raise anything
        raise UnreadableFileError(f"{path}: cannot be read as PLY ({reason(error)}); restore the file.") from error


def columns(element: PlyElement, names: tuple[str, ...]) -> Float[Array, "N C"]:
    """Collect properties of an element as the columns of a table, in single precision if all are stored so."""
    parts = [np.asarray(element[name]) for name in names]
    is_single = all(part.dtype.kind == "f" and part.dtype.itemsize == 4 for part in parts)
    return np.stack(parts, -1).astype(np.float32 if is_single else np.float64)


def ply_points(path: str | Path) -> SparsePoints:
    """Read a point cloud: x, y, z and, if it has them, the bytes red, green, blue.

    Raises:
        UnreadableFileError: the file is no point cloud.
    """
    data, names = open_ply(path), ("x", "y", "z")
    present = {prop.name for element in data.elements if element.name == "vertex" for prop in element.properties}
    if not set(names) <= present:
        raise UnreadableFileError(f"{path}: cannot be read as PLY (it has no vertices with x, y, z); restore the file.")
    colors = ("red", "green", "blue")
    rgb = columns(data["vertex"], colors).astype(np.float64) if set(colors) <= present else None
    if rgb is not None:
        kind = np.asarray(data["vertex"]["red"]).dtype
        rgb = rgb / np.iinfo(kind).max if kind.kind == "u" else rgb / (255 if rgb.max(initial=0) > 1 else 1)
    return SparsePoints(columns(data["vertex"], names).astype(np.float64), rgb)
