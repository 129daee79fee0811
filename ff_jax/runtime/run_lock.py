"""One run per folder: a lock that the operating system gives back when its process dies, however it dies."""

import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = ".lock"  # says who holds the folder, for people; the lock itself is the system's
_LOOK = 0.1  # seconds; longer than `is_held` has it in hand
_UNKNOWN = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of file systems without locks


@contextmanager
def hold(folder: str | Path) -> Iterator[None]:
    """Keep every other process out of `folder`, which is made if missing, for the length of the block.

    A file system that has no locks gets a warning instead.

    Raises:
        ValueError: a live process holds it.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    file = _open(folder)
    try:
        if not any(_take(file, folder) or time.sleep(_LOOK) for _ in range(3)):
            owner = (folder / _LOCK).read_text() or "another process"
            raise ValueError(f"{folder} is in use by {owner}: wait for it, or name another folder.")
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()} since {started}".encode())
        yield
    finally:
        os.close(file)  # and with it the lock


def is_held(folder: str | Path) -> bool:
    """Return whether a live process holds `folder`."""
    folder = Path(folder)
    if not (folder / _LOCK).exists():
        return False
    file = _open(folder)
    try:
        return not _take(file, folder)
    finally:
        os.close(file)


def _open(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        sentence = f"{folder} cannot be written ({error.strerror}): name another folder, or change its rights"
        raise type(error)(error.errno, sentence) from error


def _take(file: int, folder: Path) -> bool:
    """Return whether the lock could be had; it could on a file system without any."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        logging.getLogger(__name__).warning("%s cannot be locked: start no second run in it", folder)
    return True
