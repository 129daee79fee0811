"""The layouts in which tools store 3D Gaussians as PLY files, read to one record.

plain       one vertex with f_dc_*, f_rest_*, opacity, scale_*, rot_* per Gaussian, in any order, with or without
            normals and f_rest_*, float or double, binary or ASCII: Kerbl et al. 2023, gsplat, Nerfstudio, Brush
colored     the same with red, green, blue instead of f_dc_*: Nerfstudio with its color mode "rgb"
compressed  256 Gaussians share a `chunk` with the bounds of their values, and a vertex has packed_position,
            packed_rotation, packed_scale, packed_color; an element `sh` has f_rest_* in bytes: PlayCanvas

A comment says whether opacity was compensated for the dilation on the screen: "SplatRenderMode: mip" (Brush,
PlayCanvas) or "antialiased 1" (Postshot).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped
from plyfile import PlyData, PlyElement

from ff_jax.data.ply_files import PlyHeader, columns, open_ply, read_header
from ff_jax.export.formats.splats import (
    SplatHeader,
    StoredSplats,
    check_degree,
    dc_from_rgb,
    logits,
    usable_splats,
)
from ff_jax.render.gaussians import GaussianArrays
from ff_jax.runtime.untrusted_files import UnreadableFileError

PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
CHUNK = 256  # Gaussians
COLORS = ("red", "green", "blue")
GEOMETRY = ("x", "y", "z", "opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4)))

Array = np.ndarray


def read_splat_header(path: str | Path) -> SplatHeader:
    """Read the header of a PLY file of 3D Gaussians.

    Raises:
        ValueError: it is no PLY file, or has no 3D Gaussians.
    """
    header = read_header(path)
    return SplatHeader(header.elements.get("vertex", 0), _degree(path, header), header.comments)


def read_splats(path: str | Path) -> StoredSplats:
    """Read the Gaussians of a PLY file of any layout; those with values that are not finite are dropped.

    Raises:
        ValueError: it is no PLY file, is damaged, or has no 3D Gaussians.
    """
    header = read_header(path)
    coefficients = (_degree(path, header) + 1) ** 2
    data = open_ply(path)
    is_packed = set(PACKED) <= set(header.properties["vertex"])
    gaussians = _unpacked(path, data, coefficients) if is_packed else _plain(data["vertex"], coefficients)
    return usable_splats(gaussians)


def _degree(path: str | Path, header: PlyHeader) -> int:
    """Find the degree of the spherical harmonics, and check that all properties are there."""
    present = set(header.properties.get("vertex", ()))
    is_packed = set(PACKED) <= present
    missing = [name for name in GEOMETRY if name not in present and not is_packed]
    if not is_packed and not set(COLORS) <= present:
        missing += [f"f_dc_{i}" for i in range(3) if f"f_dc_{i}" not in present]
    rest = header.properties.get("sh", ()) if is_packed else header.properties.get("vertex", ())
    count = sum(name.startswith("f_rest_") for name in rest)
    check_degree(1 + count / 3, f"{path} with {count} f_rest properties")
    missing += [f"f_rest_{i}" for i in range(count) if f"f_rest_{i}" not in rest]
    if missing:
        kind = "3D Gaussians" if "opacity" in present else "Gaussians, perhaps only points"
        raise UnreadableFileError(
            f"{path} has no {kind}: it lacks the properties {', '.join(missing)}; export the scene of Gaussians as PLY"
        )
    return int(np.sqrt(1 + count // 3)) - 1


def _plain(vertex: PlyElement, coefficients: int) -> GaussianArrays:
    names = {prop.name for prop in vertex.properties}
    if "f_dc_0" in names:
        dc = columns(vertex, tuple(f"f_dc_{i}" for i in range(3)))
    else:
        dc = dc_from_rgb(columns(vertex, COLORS) / 255)
    rest = tuple(f"f_rest_{i}" for i in range(3 * (coefficients - 1)))
    higher = columns(vertex, rest) if rest else np.zeros((len(dc), 0), np.float32)
    return GaussianArrays(
        means=columns(vertex, ("x", "y", "z")),
        quats=columns(vertex, tuple(f"rot_{i}" for i in range(4))),
        log_scales=columns(vertex, tuple(f"scale_{i}" for i in range(3))),
        logit_opacities=columns(vertex, ("opacity",))[:, 0],
        sh=_sh(dc, higher),
    )


def _unpacked(path: str | Path, data: PlyData, coefficients: int) -> GaussianArrays:
    """Unpack the compressed layout of PlayCanvas."""
    vertex, elements = data["vertex"], {element.name for element in data.elements}
    words = {name: np.asarray(vertex[name]).astype(np.uint32) for name in PACKED}
    count = len(words["packed_position"])
    if "chunk" not in elements or len(data["chunk"].data) < -(-count // CHUNK):
        raise UnreadableFileError(f"{path}: has too few chunks for {count} packed Gaussians; export it again.")
    chunk = {prop.name: np.asarray(data["chunk"][prop.name], np.float64) for prop in data["chunk"].properties}
    rows = np.arange(count) // CHUNK
    try:
        means = _between(chunk, rows, _bits(words["packed_position"], (11, 10, 11)), "xyz")
        axes = ("scale_x", "scale_y", "scale_z")
        log_scales = _between(chunk, rows, _bits(words["packed_scale"], (11, 10, 11)), axes)
        color = _bits(words["packed_color"], (8, 8, 8, 8))
        rgb = _between(chunk, rows, color[:, :3], "rgb") if "min_r" in chunk else color[:, :3]
        names = tuple(f"f_rest_{i}" for i in range(3 * (coefficients - 1)))
        higher = columns(data["sh"], names) * (8 / 255) - 4 if names else np.zeros((count, 0))
    except (KeyError, ValueError) as error:
        raise UnreadableFileError(f"{path}: is packed in an unknown way ({error}); export it uncompressed.") from error
    quats = _quaternions(words["packed_rotation"])
    return GaussianArrays(means, quats, log_scales, logits(color[:, 3]), _sh(dc_from_rgb(rgb), higher))


def _bits(words: Shaped[Array, "N"], widths: tuple[int, ...]) -> Float[Array, "N C"]:
    """Split words into fields, the highest bits first, each scaled to [0, 1]."""
    shifts = np.cumsum((0, *widths[:0:-1]))[::-1]
    fields = [(words >> int(s)) & ((1 << w) - 1) for s, w in zip(shifts, widths, strict=True)]
    return np.stack([field / ((1 << w) - 1) for field, w in zip(fields, widths, strict=True)], -1)


def _between(
    chunk: Mapping[str, Float[Array, "K"]], rows: Shaped[Array, "N"], share: Float[Array, "N 3"], names: tuple | str
) -> Float[Array, "N 3"]:
    """Interpolate between the bounds of each value in its chunk."""
    low, high = (np.stack([chunk[f"{side}_{name}"][rows] for name in names], -1) for side in ("min", "max"))
    return low * (1 - share) + high * share


def _quaternions(words: Shaped[Array, "N"]) -> Float[Array, "N 4"]:
    """Unpack quaternions (wxyz): the number of the largest component in 2 bits, then the others in 10 bits each."""
    others = (_bits(words & np.uint32((1 << 30) - 1), (10, 10, 10)) - 0.5) * np.sqrt(2)
    largest = np.sqrt(np.maximum(1 - np.square(others).sum(-1), 0))
    number, rows = (words >> 30).astype(int), np.arange(len(words))
    result = np.zeros((len(words), 4))
    result[rows, number] = largest
    for column in range(3):
        result[rows, column + (column >= number)] = others[:, column]
    return result


def _sh(dc: Float[Array, "N 3"], higher: Float[Array, "N R"]) -> Float[Array, "N K 3"]:
    """Join the constant coefficients and the others, which are stored channel by channel."""
    rest = higher.reshape(len(dc), 3, higher.shape[1] // 3).swapaxes(1, 2)
    return np.concatenate([dc[:, None], rest], 1)
