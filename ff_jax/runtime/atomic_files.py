"""Files that are either whole or absent, and one clear sentence when the disk is full."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DiskFullError(OSError):
    """No space is left where a file of the run is written, or files may not grow that large."""


@contextmanager
def explain_full_disk(path: str | Path) -> Iterator[None]:
    """Turn any "no space left" inside the block into a `DiskFullError` that names `path`."""
    try:
        yield
    except Exception as error:
        number = _full(error)
        if number is None:
            raise
        reasons = {errno.EFBIG: ("files may not grow large enough", "raise the limit (ulimit -f)")}
        why, what = reasons.get(number, ("no space is left on the disk", "free some space"))
        raise DiskFullError(number, f"{why} to write {path}: {what}, then run again to continue") from error


_FULL = {
    errno.ENOSPC: "no space left on device",
    errno.EDQUOT: "disk quota exceeded",
    errno.EFBIG: "file too large",
}


def _full(error: BaseException | None) -> int | None:
    """Return the number of the full disk that `error` or one of its causes is; libraries wrap it in many types."""
    if error is None:
        return None
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(_full, error.exceptions)), None)
    if getattr(error, "errno", None) in _FULL:
        return error.errno
    text = str(error).lower()
    found = next((number for number, words in _FULL.items() if words in text), None)
    return found or _full(error.__cause__ or error.__context__)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place once the block has succeeded.

    Readers see the old file or the whole new one, never a part, even if the process is killed. Missing parent
    folders are made. A failed block leaves no temporary file.

    Raises:
        DiskFullError: if the block meets a full disk.
    """
    path = Path(path)
    # The suffix stays last because writers choose their format by it.
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        with explain_full_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: str | Path) -> None:
    """Ask the operating system to put the content of a file (or the entries of a folder) on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
