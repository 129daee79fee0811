"""Read files that may be damaged or hostile: nothing is opened that blocks, and sizes are bounded before decoding."""

import json
import os
import re
import stat
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

MAX_RATIO = 100  # of the bytes of a decoded file to those on the disk; zeros are compressed more, recordings are not
MAX_FREE = 1 << 28  # decoded bytes that are allowed in any case

MAX_HEADER = 10_000  # bytes of the header of an array
_HEADER = re.compile(r"\{'descr': '([^']*)', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\),? *\} *\n?")

Array = np.ndarray


_MAX_REASON = 200  # characters of a message that quotes another one


class UnreadableFileError(ValueError):
    """A file is missing, special, damaged or too large to decode; the message names it."""


def reason(error: BaseException | str) -> str:
    """Make a short reason of an error for the message of another one: its first line, or else its type.

    Libraries quote what they read, and a damaged file may hold anything.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in lines[0])
    half = _MAX_REASON // 2
    return text if len(text) <= _MAX_REASON else f"{text[:half]} ... {text[-half:]}"


def check_regular(path: str | Path) -> int:
    """Check that a path is a file with content on a disk; return its size in bytes.

    Reading a FIFO or a device may wait for ever.

    Raises:
        UnreadableFileError: there is no such file, or it is a folder or a special file.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: the name has a null byte
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        what = "no such file" if missing else getattr(error, "strerror", None) or reason(error)
        raise UnreadableFileError(f"{path}: {what}; restore it.") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "folder" if stat.S_ISDIR(status.st_mode) else "special file (FIFO, socket or device)"
        raise UnreadableFileError(f"{path}: is a {kind}; put a file there.")
    return status.st_size


def check_decoded_size(path: str | Path, decoded: int, stored: int) -> None:
    """Check the number of bytes that a file says it decodes to against its own size.

    Raises:
        UnreadableFileError: it is too large for the file.
    """
    if decoded > max(MAX_FREE, MAX_RATIO * stored):
        raise UnreadableFileError(f"{path}: {stored} bytes claim to hold {decoded}; the file is damaged: restore it.")


def read_file(path: str | Path) -> bytes:
    """Read the bytes of a file.

    Raises:
        UnreadableFileError: the file is missing, special or cannot be read.
    """
    check_regular(path)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UnreadableFileError(f"{path}: cannot be read ({error.strerror}); restore the file.") from error


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        UnreadableFileError: the file cannot be read, or is not JSON.
    """
    return parse_json(read_file(path), path)


def parse_json(data: bytes, path: str | Path) -> Any:
    """Parse the content of a JSON file; `path` is for the message.

    Raises:
        UnreadableFileError: it is not JSON, or too deeply nested.
    """
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object)
    except RecursionError:
        raise UnreadableFileError(f"{path}: is nested too deeply for JSON of this kind; restore the file.") from None
    except ValueError as error:  # not UTF-8, not JSON, or a number of too many digits
        raise UnreadableFileError(f"{path}: not valid JSON ({reason(error)}); restore the file.") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its entries; Python's reader would keep the last of two entries of one name.

    Raises:
        ValueError: two entries have one name.
    """
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is given twice")
    return content


def read_json_object(path: str | Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        UnreadableFileError: the file cannot be read, is not JSON or holds another type.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise UnreadableFileError(f"{path}: holds a {type(content).__name__}, not an object; restore the file.")
    return content


def read_npz(path: str | Path, names: Collection[str] | None = None) -> dict[str, Array]:
    """Read the arrays of an .npz file; arrays of Python objects are refused.

    Args:
        path: of the file.
        names: of the arrays to read, where the file has them; None reads all.

    Raises:
        UnreadableFileError: the file is missing, damaged or of another type, or a member is larger than it can be.
    """
    with _opened_npz(path) as (archive, members):
        chosen = members.keys() if names is None else members.keys() & set(names)
        return {name: _read_member(archive, members[name]) for name in members if name in chosen}


def npz_header(path: str | Path, name: str) -> tuple[tuple[int, ...], np.dtype] | None:
    """Read shape and type of one array of an .npz file from its header; None if the file has no such array.

    Raises:
        UnreadableFileError: see `read_npz`.
    """
    with _opened_npz(path) as (archive, members):
        if name not in members:
            return None
        with archive.open(members[name]) as file:
            shape, _, dtype = _read_header(file, members[name])
            return shape, dtype


@contextmanager
def _opened_npz(path: str | Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]]:
    """Open an .npz file of bounded size; give the archive and its members by name."""
    size = check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            check_decoded_size(path, sum(member.file_size for member in members.values()), size)
            yield archive, members
    except UnreadableFileError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise ten types for damaged files
        raise UnreadableFileError(
            f"{path}: cannot be read ({reason(error)}); the file is damaged or of another type: restore it."
        ) from error


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """Read one array; its header must agree with the size of the member, before memory is allocated for it."""
    with archive.open(member) as opened:
        file = cast(zipfile.ZipExtFile, opened)
        shape, is_fortran, dtype = _read_header(file, member)
        count, stored = int(np.prod(shape, dtype=object)), member.file_size - file.tell()
        array = np.empty(count, dtype)
        if stored and file.readinto(array.view(np.uint8).data) != stored:
            raise ValueError(f"member {member.filename!r} ends too early")
    return array.reshape(shape, order="F" if is_fortran else "C")


def _read_header(file: Any, member: zipfile.ZipInfo) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read shape, order and type of an array of numbers, and check that the size of the member agrees."""
    if not member.filename.endswith(".npy"):
        raise ValueError(f"member {member.filename!r} is not an array")
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"member {member.filename!r} has the format version {version}")
    length = int.from_bytes(file.read(2 * version[0]), "little")
    # NumPy evaluates this text, which takes long, and fails in Python 3.11 if two threads do it at once.
    match = _HEADER.fullmatch(file.read(min(length, MAX_HEADER)).decode("latin1"))
    if match is None:
        raise ValueError(f"member {member.filename!r} has an unknown header")
    dtype, is_fortran = np.dtype(match[1]), match[2] == "True"
    shape = tuple(int(size) for size in match[3].split(",") if size.strip())
    if dtype.hasobject:
        raise ValueError(f"member {member.filename!r} holds Python objects")
    count, stored = int(np.prod(shape, dtype=object)), member.file_size - file.tell()
    if stored != count * dtype.itemsize:
        raise ValueError(f"member {member.filename!r} has {stored} bytes for the shape {shape} of {dtype}")
    return shape, is_fortran, dtype
