"""Write SPZ files of version 4, and read those of versions 2 to 4.

A header, then one stream per quantity (`spz_values`), each compressed by zstd (version 4), or all in one gzip stream.
Axes are x right, y up, z back, while those of PLY files are x right, y down, z forward: y and z change their signs,
also in rotations and colors. Source: github.com/nianticlabs/spz (load-spz).
"""

import gzip
import io
import struct
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from ff_jax.export.formats.splats import (
    MissingPackageError,
    SplatHeader,
    StoredSplats,
    check_count,
    check_degree,
    render_mode,
    usable_splats,
)
from ff_jax.export.formats.spz_values import decode, encode, fractional_bits
from ff_jax.render.gaussians import GaussianArrays
from ff_jax.render.similarity import moved
from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.runtime.untrusted_files import UnreadableFileError, check_regular, read_file, reason

MAGIC, VERSION, GZIP_VERSIONS = 0x5053474E, 4, (2, 3)
FIELDS = struct.Struct("<IIIBBBB")  # magic, version, count, degree, fractional bits, flags, number of streams
TABLE_OFFSET, HEADER_SIZE = struct.Struct("<I"), 32  # in version 4: where the table of streams begins, then zeros
ENTRY = struct.Struct("<QQ")  # of the table: bytes of a stream, and what it decodes to
ANTIALIASED = 1  # flag
MAX_WINDOW = 1 << 27  # bytes of memory of a zstd decoder
OTHER_AXES = np.diag([1.0, -1.0, -1.0, 1.0])  # from the axes of PLY files, and back

Array = np.ndarray


class SpzHeader(NamedTuple):
    """The fields of a header."""

    version: int
    count: int
    degree: int
    fractional_bits: int
    flags: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Return the bytes of a Gaussian in the decoded streams, in their order."""
        return 9, 1, 3, 3, 3 if self.version == 2 else 4, 3 * ((self.degree + 1) ** 2 - 1)

    @property
    def stream_sizes(self) -> tuple[int, ...]:
        """Return the bytes of the decoded streams, in their order."""
        return tuple(self.count * width for width in self.widths)


def write(path: str | Path, gaussians: GaussianArrays, comments: Sequence[str] = ()) -> None:
    """Write Gaussians, atomically; of the comments only that on anti-aliasing has a place.

    Raises:
        ValueError: positions are beyond 4,000 km, or the number of coefficients fits no degree from 0 to 3.
        MissingPackageError: the package zstandard is missing.
        DiskFullError: the disk is full.
    """
    compressor = _zstandard().ZstdCompressor(level=12)
    check_degree(gaussians.sh.shape[1], f"sh of shape {gaussians.sh.shape}")
    bits = fractional_bits(gaussians.means)
    flags = ANTIALIASED * SplatHeader(0, 0, tuple(comments)).antialiased
    degree = round(gaussians.sh.shape[1] ** 0.5) - 1
    streams = [part.tobytes() for part in encode(turned(gaussians), bits)]
    packed = [compressor.compress(stream) for stream in streams if stream]
    head = FIELDS.pack(MAGIC, VERSION, gaussians.count, degree, bits, flags, len(packed))
    table = b"".join(ENTRY.pack(len(a), len(b)) for a, b in zip(packed, filter(None, streams), strict=True))
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"".join([head, TABLE_OFFSET.pack(HEADER_SIZE).ljust(16, b"\0"), table, *packed]))


def read_header(path: str | Path) -> SplatHeader:
    """Read the header of a file.

    Raises:
        UnreadableFileError: the file is missing, damaged, of another type or another version.
    """
    size = check_regular(path)
    with open(path, "rb") as file:
        header = _header(path, file.read(1 << 12), size)
    return SplatHeader(header.count, header.degree, (render_mode(bool(header.flags & ANTIALIASED)),))


def read(path: str | Path) -> StoredSplats:
    """Read the Gaussians of a file; sizes are checked before anything is decoded.

    Raises:
        UnreadableFileError: see `read_header`.
        MissingPackageError: the package zstandard is missing.
    """
    data = read_file(path)
    header = _header(path, data, len(data))
    load = _gzip_streams if header.version in GZIP_VERSIONS else _zstd_streams
    try:
        streams = load(data, header)
    except ImportError:
        raise
    except Exception as error:  # zlib, zstandard and struct raise many types for damaged files
        raise UnreadableFileError(f"{path}: cannot be read as SPZ ({reason(error)}); restore the file.") from error
    shapes = [(header.count, width) for width in header.widths]
    parts = [np.frombuffer(stream, np.uint8).reshape(s) for stream, s in zip(streams, shapes, strict=True)]
    return usable_splats(turned(decode(parts, header.fractional_bits)))


def turned(gaussians: GaussianArrays) -> GaussianArrays:
    """Change the signs of y and z: from the axes of PLY files to those of the format, and back.

    The Gaussians' own axes are turned as well, so that a quaternion of 1 stays 1.
    """
    quats = gaussians.quats * np.array([1, 1, -1, -1], gaussians.quats.dtype)
    return moved(gaussians, OTHER_AXES)._replace(quats=quats)


def _header(path: str | Path, data: bytes, size: int) -> SpzHeader:
    """Read the header of a file from its first bytes, and check it against the size of the file."""
    has_gzip = data[:2] == b"\x1f\x8b"
    file = io.BytesIO(data)
    try:
        begin = (gzip.GzipFile(fileobj=file) if has_gzip else file).read(FIELDS.size)
        magic, version, count, degree, bits, flags, _ = FIELDS.unpack(begin)
    except Exception as error:  # zlib and struct raise many types for damaged files
        raise UnreadableFileError(f"{path}: is no SPZ file ({reason(error)}); use another file.") from error
    if magic != MAGIC or version not in (GZIP_VERSIONS if has_gzip else (VERSION,)):
        raise UnreadableFileError(f"{path}: is no SPZ file of version 2, 3 or 4; export it again.")
    if degree > 3 or not 0 <= bits <= 24:
        raise UnreadableFileError(
            f"{path}: has spherical harmonics of degree {degree} and {bits} fractional bits: "
            "expected degree 0 to 3 and 0 to 24 bits; export it again."
        )
    check_count(path, count, (degree + 1) ** 2, size)
    return SpzHeader(version, count, degree, bits, flags)


def _gzip_streams(data: bytes, header: SpzHeader) -> list[bytes]:
    """Decode the streams of version 2 and 3: no byte more than the header says."""
    file = gzip.GzipFile(fileobj=io.BytesIO(data))
    file.read(FIELDS.size)
    streams = [file.read(size) for size in header.stream_sizes]
    if [len(stream) for stream in streams] != list(header.stream_sizes):
        raise ValueError("it ends too early")
    return streams


def _zstd_streams(data: bytes, header: SpzHeader) -> list[bytes]:
    """Decode the streams of version 4; their sizes must be those that follow from the header."""
    zstandard, number = _zstandard(), data[FIELDS.size - 1]
    (start,) = TABLE_OFFSET.unpack_from(data, FIELDS.size)
    entries = [ENTRY.unpack_from(data, start + ENTRY.size * i) for i in range(number)]
    position, found = start + ENTRY.size * number, []
    for stored, decoded in entries:
        found.append((data[position : position + stored], decoded))
        position += stored
    if position > len(data):
        raise ValueError("it ends too early")
    sizes = [size for size in header.stream_sizes if size]  # empty streams may be left out
    found = [(stream, size) for stream, size in found if size][: len(sizes)]
    if [size for _, size in found] != sizes:
        raise ValueError(f"its streams have {[size for _, size in found]} bytes instead of {sizes}")
    decoder = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
    streams = []
    for stream, size in found:
        if zstandard.get_frame_parameters(stream).content_size not in (zstandard.CONTENTSIZE_UNKNOWN, size):
            raise ValueError(f"a stream does not have {size} bytes")
        streams.append(decoder.decompress(stream, max_output_size=size))
    if [len(stream) for stream in streams] != sizes:
        raise ValueError("a stream ends too early")
    return streams + [b""] * (len(header.stream_sizes) - len(streams))


def _zstandard() -> ModuleType:
    try:
        import zstandard  # an optional dependency
    except ImportError as error:
        raise MissingPackageError(
            "SPZ files of version 4 need the package zstandard: pip install zstandard."
        ) from error
    return zstandard
