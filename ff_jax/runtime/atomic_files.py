"""Write files atomically, and explain a full disk in one sentence."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DiskFullError(OSError):
    """No space is left on the disk, or the limit of the file size is reached."""


@contextmanager
def explain_full_disk(path: str | Path) -> Iterator[None]:
    """Convert any "no space left" error of the block to a `DiskFullError` that names `path`."""
    try:
        yield
    except Exception as error:
        code = _disk_full_errno(error)
        if code is None:
            raise
        reason, remedy = "no space is left on the disk", "free some space"
        if code == errno.EFBIG:
            reason, remedy = "files may not grow large enough", "raise the limit (ulimit -f)"
        raise DiskFullError(code, f"{reason} to write {path}: {remedy}, then run again to continue") from error


_DISK_FULL = {
    errno.ENOSPC: "no space left on device",
    errno.EDQUOT: "disk quota exceeded",
    errno.EFBIG: "file too large",
}


def _disk_full_errno(error: BaseException | None) -> int | None:
    """Find the error number of a full disk in `error` or its causes; libraries wrap it in many types."""
    if error is None:
        return None
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(_disk_full_errno, error.exceptions)), None)
    code = getattr(error, "errno", None)
    if code in _DISK_FULL:
        return code
    text = str(error).lower()
    code = next((number for number, words in _DISK_FULL.items() if words in text), None)
    return code or _disk_full_errno(error.__cause__ or error.__context__)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it when the block has succeeded.

    Readers see the old file or the complete new one, even if the process is killed. Missing parent folders are made.
    A failed block leaves no temporary file.

    Raises:
        DiskFullError: the disk is full.
    """
    path = Path(path)
    # The suffix stays last because writers choose the format by it.
    temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
    try:
        with explain_full_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # A new file: a link of that name, in a folder from elsewhere, would lead to another file.
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: str | Path) -> None:
    """Flush the content of a file (or the entries of a folder) to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
