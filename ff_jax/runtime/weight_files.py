"""Weights of published networks: found on the disk or fetched once, checked by digest, read without pickle."""

import hashlib
import string
import struct
import sys
import zipfile
import zlib
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

from ff_jax.runtime.atomic_files import DiskFullError, explain_full_disk, replacing

SUFFIXES = (".npz", ".safetensors")
_SCHEMES = ("http", "https", "file")
_CHUNK = 1 << 20  # bytes read at a time
_TIMEOUT = 30  # seconds without a byte before a download is given up
_NAMED = 3  # offending keys that an error lists
# What a damaged archive fails with; TypeError stands for a plain array that is called .npz.
_UNREADABLE = (OSError, ValueError, TypeError, EOFError, NotImplementedError, RuntimeError, struct.error)
_UNREADABLE += (zipfile.BadZipFile, zlib.error, SafetensorError)


@dataclass(frozen=True)
class Weights:
    """Where the weights of a network are: a file, or a download that its digest pins."""

    path: str = ""  # a file on this machine; taken first, where it exists
    url: str = ""  # http, https or file; needs sha256
    sha256: str = ""  # digest of the file, 64 hexadecimal digits; a path is checked against it too


def locate(weights: Weights, purpose: str, cache: Path) -> Path:
    """Return the file that `weights` describes, and download it into `cache` if it is not there yet.

    A download is kept under its digest and is used again without a network. It appears in `cache` whole or not
    at all.

    Args:
        weights: path, or URL and digest.
        purpose: what the network is for, in a few words, for messages.
        cache: folder of downloads; made if missing.

    Raises:
        ValueError: neither the path exists nor URL and digest are given, the digest does not match, or the download
            fails.
        DiskFullError: no space is left for the download.
    """
    digest = weights.sha256.lower()
    if digest and not (len(digest) == 64 and set(digest) <= set(string.hexdigits)):
        raise ValueError(f"{purpose}: sha256 {weights.sha256!r} must have 64 hexadecimal digits.")
    if weights.path and (path := Path(weights.path)).is_file():
        _check_digest(path, digest, f"{purpose}: give the right file or its digest")
        return path
    if not weights.url or not digest:
        raise ValueError(
            f"{purpose}: no weights; give the path of a file that exists, or a url and its sha256 (found "
            f"path={weights.path!r}, url={weights.url!r}, sha256={weights.sha256!r})."
        )
    return _cached(weights.url, digest, purpose, cache)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return all arrays of an .npz or .safetensors file by name; pickled objects are refused.

    Raises:
        ValueError: the file is missing, damaged or of another type.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: weights must be a file of type {' or '.join(SUFFIXES)}; convert it.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except _UNREADABLE as error:
        reason = "no such file" if not path.is_file() else (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: weights cannot be read ({reason}); give the whole file.") from error


def check_shapes(arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], purpose: str) -> None:
    """Check that exactly the expected arrays are there, in the expected shapes.

    Raises:
        ValueError: arrays are missing, surplus or of another shape; the message names the first of each.
    """
    wrong = sorted(key for key in arrays.keys() & shapes.keys() if arrays[key].shape != tuple(shapes[key]))
    faults = {
        "missing": sorted(shapes.keys() - arrays.keys()),
        "surplus": sorted(arrays.keys() - shapes.keys()),
        "misshapen": [f"{key} {arrays[key].shape} instead of {tuple(shapes[key])}" for key in wrong],
    }
    found = [f"{fault}: {_some(keys)}" for fault, keys in faults.items() if keys]
    if found:
        raise ValueError(f"{purpose}: these are not its weights ({'; '.join(found)}); give the file for this network.")


def _some(keys: list[str]) -> str:
    more = len(keys) - _NAMED
    return ", ".join(keys[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _cached(url: str, digest: str, purpose: str, cache: Path) -> Path:
    """Return the verified download of `url`, fetching it if there is none or a damaged one."""
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"{purpose}: url {url!r} must start with one of {', '.join(_SCHEMES)}.")
    path = cache / (digest + Path(parts.path).suffix)
    with suppress(ValueError, OSError):
        _check_digest(path, digest, "")
        return path
    with replacing(path) as temporary:
        _download(url, temporary, purpose)
        _check_digest(temporary, digest, f"{purpose}: {url} is another file; correct the url or its sha256")
    return path


def _download(url: str, path: Path, purpose: str) -> None:
    """Write what `url` holds to `path`, with a progress bar on standard error."""
    every = 0.1 if sys.stderr.isatty() else 10  # seconds; few lines in log files
    style = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "mininterval": every}
    try:
        with urlopen(url, timeout=_TIMEOUT) as source, open(path, "wb") as sink:
            size = int(source.headers.get("Content-Length") or 0)
            with tqdm(total=size or None, desc=f"{purpose}: download", **style) as bar, explain_full_disk(path):
                while chunk := source.read(_CHUNK):
                    sink.write(chunk)
                    bar.update(len(chunk))
    except DiskFullError:
        raise
    except (OSError, HTTPException) as error:
        raise ValueError(f"{purpose}: {url} cannot be downloaded ({error}); correct the url or give a path.") from error


def _check_digest(path: Path, digest: str, advice: str) -> None:
    """Raise a ValueError if the SHA-256 of a file is not `digest`; an empty digest matches everything."""
    if not digest:
        return
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise ValueError(f"{advice} (sha256 of the file is {found}, expected {digest}).")
