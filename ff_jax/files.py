"""Files that are either whole or absent, and one clear sentence when the disk is full."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DiskFullError(OSError):
    """No space is left where a file of the run is written."""


@contextmanager
def explain_full_disk(path: str | Path) -> Iterator[None]:
    """Turn any "no space left" inside the block into a `DiskFullError` that names `path`."""
    try:
        yield
    except Exception as error:
        if not _is_disk_full(error):
            raise
        message = f"no space is left on the disk to write {path}: free some space, then run again to continue"
        raise DiskFullError(errno.ENOSPC, message) from error


def _is_disk_full(error: BaseException | None) -> bool:
    """Return whether `error` or one of its causes is a full disk; libraries wrap it in many types."""
    if error is None:
        return False
    if isinstance(error, BaseExceptionGroup):
        return any(_is_disk_full(inner) for inner in error.exceptions)
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error).lower()
    if "no space left on device" in text or "disk quota exceeded" in text:
        return True
    return _is_disk_full(error.__cause__ or error.__context__)


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
