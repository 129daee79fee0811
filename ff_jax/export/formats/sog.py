"""Write and read SOG files of version 2 (PlayCanvas): Gaussians in images, in a ZIP archive or a folder.

meta.json names lossless WebP images, in which a pixel is a Gaussian, row by row:

means    16 bits per coordinate of sign(x) log(1 + |x|) between `mins` and `maxs`, low and high bytes in two images
quats    the three smaller components (wxyz) x sqrt 2 as bytes x 127.5 + 127.5; alpha: 252 + number of the largest
scales   numbers in a codebook of 256 logs of standard deviations
sh0      numbers in a codebook of 256 constant coefficients; alpha: opacity x 255
shN      numbers (16 bits) in a palette of coefficients above the constant, themselves numbers in a codebook

Axes are those of a PLY file. Neighbors in space are neighbors in the images. Source: the specification at
developer.playcanvas.com, and splat-transform.
"""

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ff_jax.data.lazy_arrays import MAX_PIXELS
from ff_jax.export.formats.sog_values import COLUMNS, FILES, decode, encode, morton_order
from ff_jax.export.formats.splats import (
    SplatHeader,
    StoredSplats,
    check_count,
    check_degree,
    render_mode,
    usable_splats,
)
from ff_jax.render.gaussians import GaussianArrays
from ff_jax.runtime.atomic_files import atomic_write
from ff_jax.runtime.untrusted_files import UnreadableFileError, check_decoded_size, check_regular, parse_json, reason

META = "meta.json"
MAX_COMMENT = 1000  # characters

Array = np.ndarray
Load = Callable[[str], bytes]  # a member by its name


def write(path: str | Path, gaussians: GaussianArrays, comments: Sequence[str] = ()) -> None:
    """Write Gaussians in the order of their places, atomically; the codebooks are found by k-means.

    Raises:
        ValueError: the number of coefficients fits no degree from 0 to 3.
        DiskFullError: the disk is full.
    """
    check_degree(gaussians.sh.shape[1], f"sh of shape {gaussians.sh.shape}")
    order = morton_order(gaussians.means)
    meta, tables = encode(GaussianArrays(*(values[order] for values in gaussians)))
    antialiased = SplatHeader(0, 0, tuple(comments)).antialiased
    head = {"version": 2, "asset": {"generator": "faithfusion-jax"}, "count": gaussians.count, "antialias": antialiased}
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, table in tables.items():
            archive.writestr(name, _webp(table if table.ndim == 3 else _square(table)))
        archive.writestr(META, json.dumps(head | meta | {"extras": {"comments": list(comments)}}))


def read_header(path: str | Path) -> SplatHeader:
    """Read the header of a file.

    Raises:
        UnreadableFileError: the file is missing, damaged, of another type or another version.
    """
    with _opened(path) as (load, size):
        return _header(_meta(path, load, size))


def read(path: str | Path) -> StoredSplats:
    """Read the Gaussians of a file, or of a folder with meta.json; sizes are checked before anything is decoded.

    Raises:
        UnreadableFileError: see `read_header`.
    """
    with _opened(path) as (load, size):
        meta = _meta(path, load, size)
        count, names = meta["count"], {name: name for files in FILES.values() for name in files}
        for part in meta.keys() & FILES.keys():
            names |= dict(zip(FILES[part], meta[part]["files"], strict=True))
        has_bands = "shN" in meta
        tables = {
            name: _pixels(path, load(names[name]), "RGBA", size).reshape(-1, 4)[:count]
            for part, files in FILES.items()
            for name in files
            if name != FILES["shN"][0] and (part != "shN" or has_bands)
        }
        if any(len(table) < count for table in tables.values()):
            raise ValueError(f"an image has less than {count} pixels")
        image = _pixels(path, load(names[FILES["shN"][0]]), "RGB", size) if has_bands else None
        if image is not None and image.shape[1] != COLUMNS * ((meta["shN"]["bands"] + 1) ** 2 - 1):
            raise ValueError(f"the palette is {image.shape[1]} pixels wide")
        return usable_splats(decode(meta, tables, image))


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Load, int]]:
    """Open an archive or a folder; give what loads a member, and the size of all in bytes.

    Raises:
        UnreadableFileError: it is missing or damaged, also while its members are decoded.
    """
    path = Path(path)
    try:
        if path.is_dir():
            members = {file.name: file for file in path.iterdir()}
            yield (lambda name: members[name].read_bytes()), sum(map(check_regular, members.values()))
            return
        size = check_regular(path)
        with zipfile.ZipFile(path) as archive:
            check_decoded_size(path, sum(member.file_size for member in archive.infolist()), size)
            yield archive.read, size
    except UnreadableFileError:
        raise
    except Exception as error:  # zipfile, zlib, Pillow and missing entries raise many types for damaged files
        what = f"has no {error}" if isinstance(error, KeyError) else reason(error)
        raise UnreadableFileError(f"{path}: cannot be read as SOG ({what}); restore the file.") from error


def _meta(path: str | Path, load: Load, size: int) -> Mapping[str, Any]:
    """Read and check meta.json."""
    meta = parse_json(load(META), path)
    if not isinstance(meta, dict) or meta.get("version") != 2:
        raise UnreadableFileError(f"{path}: is no SOG file of version 2; export it again.")
    count, bands = meta["count"], meta["shN"]["bands"] if "shN" in meta else 0
    if type(count) is not int or type(bands) is not int or count < 0 or not 0 <= bands <= 3:
        raise UnreadableFileError(
            f"{path}: has count={reason(repr(count))} and bands={reason(repr(bands))}: "
            "expected a number of Gaussians and 0 to 3; restore the file."
        )
    check_count(path, count, (bands + 1) ** 2, size)
    return meta


def _header(meta: Mapping[str, Any]) -> SplatHeader:
    extras = meta.get("extras")
    stored = extras.get("comments") if isinstance(extras, dict) else None
    comments = [text for text in stored if isinstance(text, str)] if isinstance(stored, list) else []
    if not comments and "antialias" in meta:
        comments = [render_mode(meta["antialias"] is True)]
    bands = meta["shN"]["bands"] if "shN" in meta else 0
    return SplatHeader(meta["count"], bands, tuple(text[:MAX_COMMENT] for text in comments))


def _pixels(path: str | Path, data: bytes, mode: str, size: int) -> UInt8[Array, "H W C"]:
    """Decode an image of bounded size."""
    with Image.open(io.BytesIO(data), formats=("WEBP", "PNG")) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width}x{image.height} pixels are more than {MAX_PIXELS}")
        check_decoded_size(path, 4 * image.width * image.height, size)
        return np.asarray(image.convert(mode))


def _square(table: UInt8[Array, "N 4"]) -> UInt8[Array, "H W 4"]:
    """Arrange a table as an image whose sides are multiples of 4."""
    width = max(4 * -(-int(np.ceil(len(table) ** 0.5)) // 4), 4)
    height = max(4 * -(-len(table) // (4 * width)), 4)
    image = np.zeros((height * width, 4), np.uint8)
    image[: len(table)] = table
    return image.reshape(height, width, 4)


def _webp(image: UInt8[Array, "H W C"]) -> bytes:
    file = io.BytesIO()
    # Colors of transparent pixels are values as well.
    Image.fromarray(image).save(file, "WEBP", lossless=True, exact=True, quality=80, method=4)
    return file.getvalue()
