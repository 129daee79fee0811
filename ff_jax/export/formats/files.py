"""Write and read a file of Gaussians of the format that its suffix names."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ff_jax.export.formats import sog, splat, spz, usd
from ff_jax.export.formats.nodes import SceneNode
from ff_jax.export.formats.splats import SplatHeader, StoredSplats
from ff_jax.export.ply import write_ply
from ff_jax.export.ply_layouts import read_splat_header, read_splats
from ff_jax.render.gaussians import GaussianArrays


class SplatFormat(NamedTuple):
    """Write a file from its path, Gaussians and comments; read its header, and all of it."""

    write: Callable[[str | Path, GaussianArrays, Sequence[str]], None]
    read_header: Callable[[str | Path], SplatHeader]
    read: Callable[[str | Path], StoredSplats]


def _write_ply(path: str | Path, gaussians: GaussianArrays, comments: Sequence[str] = ()) -> None:
    write_ply(path, gaussians, np.ones(gaussians.count, bool), comments)


FORMATS = {
    ".ply": SplatFormat(_write_ply, read_splat_header, read_splats),
    ".splat": SplatFormat(splat.write, splat.read_header, splat.read),
    ".spz": SplatFormat(spz.write, spz.read_header, spz.read),
    ".sog": SplatFormat(sog.write, sog.read_header, sog.read),
}
NODE_WRITERS = {".usd": usd.write, ".usda": usd.write, ".usdc": usd.write}  # of nodes with their motion
SUFFIXES = (*FORMATS, *NODE_WRITERS)  # that can be written


def suffix_of(path: str | Path) -> str:
    """Return the suffix of a file to write.

    Raises:
        ValueError: no format has it.
    """
    return _checked(path, SUFFIXES)


def holds_nodes(path: str | Path) -> bool:
    """Return whether the format of a file holds nodes with their motion, not only one set of Gaussians."""
    return suffix_of(path) in NODE_WRITERS


def write_gaussians(path: str | Path, gaussians: GaussianArrays, comments: Sequence[str] = ()) -> None:
    """Write Gaussians in the format of the suffix, atomically.

    Args:
        path: of the file.
        gaussians: in single precision.
        comments: lines for the header; formats without a place for them drop them.

    Raises:
        ValueError: no format has the suffix, or the format cannot hold the Gaussians.
        MissingPackageError: an optional package is missing.
        DiskFullError: the disk is full.
    """
    if holds_nodes(path):
        write_nodes(path, [SceneNode("static", gaussians)], comments)
    else:
        FORMATS[suffix_of(path)].write(path, gaussians, comments)


def write_nodes(path: str | Path, nodes: Sequence[SceneNode], comments: Sequence[str] = ()) -> None:
    """Write the nodes of a scene with their motion, atomically; see `write_gaussians`.

    Raises:
        ValueError: the format of the suffix does not hold nodes.
    """
    NODE_WRITERS[_checked(path, tuple(NODE_WRITERS))](path, nodes, comments)


def read_gaussians_header(path: str | Path) -> SplatHeader:
    """Read the header of a file of Gaussians.

    Raises:
        ValueError: no format has the suffix, or the file is missing, damaged or of another type.
    """
    return FORMATS[_checked(path, tuple(FORMATS))].read_header(path)


def read_gaussians(path: str | Path) -> StoredSplats:
    """Read a file of Gaussians; those with values that are not finite are dropped.

    Raises:
        ValueError: no format has the suffix, or the file is missing, damaged or of another type.
        MissingPackageError: an optional package is missing.
    """
    return FORMATS[_checked(path, tuple(FORMATS))].read(path)


def _checked(path: str | Path, suffixes: Sequence[str]) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in suffixes:
        raise ValueError(f"invalid file of Gaussians {path}: expected a name that ends with {', '.join(suffixes)}.")
    return suffix
