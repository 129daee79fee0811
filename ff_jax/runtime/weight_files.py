"""Find or download weights of published networks, check their digest, and read them without pickle."""

import hashlib
import string
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from tqdm import tqdm

from ff_jax.runtime.atomic_files import DiskFullError, atomic_write, explain_full_disk
from ff_jax.runtime.untrusted_files import check_regular, read_npz, reason

SUFFIXES = (".npz", ".safetensors")
_SCHEMES = ("http", "https", "file")
_CHUNK = 1 << 20  # bytes read at a time
_TIMEOUT = 30  # seconds without a byte until a download fails
_MAX_KEYS = 3  # keys that an error message lists
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, SafetensorError)  # of a damaged file


@dataclass(frozen=True)
class WeightsSource:
    """Location of the weights of a network: a local file, or a URL with a digest."""

    path: str = ""  # local file; preferred if it exists
    url: str = ""  # http, https or file; needs sha256
    sha256: str = ""  # digest of the file, 64 hexadecimal digits; also checked for a local file


def locate_weights(weights: WeightsSource, purpose: str, cache: Path) -> Path:
    """Find the file of `weights`, or download it into `cache`, atomically and under the name of its digest.

    Args:
        weights: path, or URL and digest.
        purpose: use of the network in a few words, for messages.
        cache: folder of downloads; made if missing.

    Raises:
        ValueError: the path does not exist and URL or digest is missing, the digest does not match, or the download
            fails.
        DiskFullError: the disk is full.
    """
    digest = weights.sha256.lower()
    if digest and not (len(digest) == 64 and set(digest) <= set(string.hexdigits)):
        raise ValueError(f"{purpose}: sha256 {weights.sha256!r} must have 64 hexadecimal digits.")
    if weights.path and (path := Path(weights.path)).is_file():
        _check_digest(path, digest, f"{purpose}: give the right file or its digest")
        return path
    if not weights.url or not digest:
        raise ValueError(
            f"{purpose}: no weights: expected the path of a file, or a url and its sha256 (got "
            f"path={weights.path!r}, url={weights.url!r}, sha256={weights.sha256!r})."
        )
    return _download_once(weights.url, digest, purpose, cache)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz or .safetensors file by name; pickled objects are refused.

    Raises:
        ValueError: the file is missing, damaged or of another type.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: weights must be a file of type {' or '.join(SUFFIXES)}; convert it.")
    try:
        check_regular(path)
        return load_file(path) if path.suffix == ".safetensors" else read_npz(path)
    except _UNREADABLE as error:
        what = reason(error) if path.exists() else "no such file"
        raise ValueError(f"{path}: weights cannot be read ({what}); download or convert the file again.") from error


def check_shapes(arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], purpose: str) -> None:
    """Check that a file has exactly the expected arrays, in the expected shapes.

    Raises:
        ValueError: arrays are missing, surplus or of another shape; the message names the first of each.
    """
    misshapen = sorted(key for key in arrays.keys() & shapes.keys() if arrays[key].shape != tuple(shapes[key]))
    faults = {
        "missing": sorted(shapes.keys() - arrays.keys()),
        "surplus": sorted(arrays.keys() - shapes.keys()),
        "misshapen": [f"{key} {arrays[key].shape} instead of {tuple(shapes[key])}" for key in misshapen],
    }
    problems = [f"{fault}: {_abbreviate(keys)}" for fault, keys in faults.items() if keys]
    if problems:
        raise ValueError(
            f"{purpose}: the file has the weights of another network ({'; '.join(problems)}); give the right file."
        )


def _abbreviate(keys: list[str]) -> str:
    more = len(keys) - _MAX_KEYS
    return ", ".join(keys[:_MAX_KEYS]) + (f" and {more} more" if more > 0 else "")


def _download_once(url: str, digest: str, purpose: str, cache: Path) -> Path:
    """Download `url` unless the cache has an undamaged copy; return the file."""
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"{purpose}: url {url!r} must start with one of {', '.join(_SCHEMES)}.")
    path = cache / (digest + Path(parts.path).suffix)
    with suppress(ValueError, OSError):
        _check_digest(path, digest, "")
        return path
    with atomic_write(path) as temporary:
        _download(url, temporary, purpose)
        _check_digest(temporary, digest, f"{purpose}: {url} is another file; correct the url or its sha256")
    return path


def _download(url: str, path: Path, purpose: str) -> None:
    """Download `url` to `path`, with a progress bar on standard error."""
    interval = 0.1 if sys.stderr.isatty() else 10  # seconds; few lines in log files
    try:
        with urlopen(url, timeout=_TIMEOUT) as source, open(path, "wb") as sink:
            size = int(source.headers.get("Content-Length") or 0)
            bar = tqdm(
                total=size or None,
                desc=f"{purpose}: download",
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                mininterval=interval,
            )
            with bar, explain_full_disk(path):
                while chunk := source.read(_CHUNK):
                    sink.write(chunk)
                    bar.update(len(chunk))
    except DiskFullError:
        raise
    except (OSError, HTTPException) as error:
        raise ValueError(
            f"{purpose}: {url} cannot be downloaded ({reason(error)}); correct the url or give a path."
        ) from error


def _check_digest(path: Path, digest: str, advice: str) -> None:
    """Raise a ValueError unless the SHA-256 of a file is `digest`; an empty digest matches every file."""
    if not digest:
        return
    with open(path, "rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != digest:
        raise ValueError(f"{advice} (sha256 of the file is {actual}, expected {digest}).")
