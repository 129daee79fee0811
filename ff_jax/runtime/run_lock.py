"""Lock a run folder for one process; the operating system releases the lock when the process ends."""

import errno
import fcntl
import logging
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ff_jax.runtime.untrusted_files import reason

_LOCK = ".lock"  # its text names the owner; the lock itself is kept by the operating system
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
_MAX_OWNER = 200  # bytes of that text
_RETRY_SECONDS = 0.1  # longer than `is_locked` keeps the lock
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # errors of file systems without locks


@contextmanager
def lock_run(folder: str | Path) -> Iterator[None]:
    """Lock `folder`, which is made if missing, against other processes during the block.

    On a file system without locks a warning is logged instead.

    Raises:
        ValueError: another process has locked the folder, or something in it is a symbolic link.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    _refuse_links(folder)
    file = _open(folder)
    try:
        if not any(_try_lock(file, folder) or time.sleep(_RETRY_SECONDS) for _ in range(3)):
            owner = reason(os.pread(file, _MAX_OWNER, 0).decode(errors="replace") or "another process")
            raise ValueError(f"{folder} is in use by {owner}: wait for it, or name another folder.")
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()} since {started}".encode())
        yield
    finally:
        os.close(file)  # releases the lock


def is_locked(folder: str | Path) -> bool:
    """Check whether a live process has locked `folder`."""
    folder = Path(folder)
    if not (folder / _LOCK).exists():
        return False
    file = _open(folder)
    try:
        return not _try_lock(file, folder)
    finally:
        os.close(file)


def _refuse_links(folder: Path) -> None:
    """Check that what a run writes stays in its folder: a folder from elsewhere may hold links to files of the user.

    Raises:
        ValueError: something in the folder is a symbolic link.
    """
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if os.path.islink(os.path.join(parent, name)):
                raise ValueError(f"{os.path.join(parent, name)} is a symbolic link: remove it, or name another folder.")


def _open(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / _LOCK, _FLAGS, 0o666)
        if os.fstat(file).st_nlink > 1:  # a copy by hard links, or another name of a file of the user
            os.close(file)
            os.unlink(folder / _LOCK)
            file = os.open(folder / _LOCK, _FLAGS, 0o666)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError(errno.EINVAL, f"its {_LOCK} is no file")
        return file
    except OSError as error:
        message = f"{folder} cannot be written ({error.strerror}): name another folder, or change its permissions"
        raise type(error)(error.errno, message) from error


def _try_lock(file: int, folder: Path) -> bool:
    """Lock an open file and return whether that succeeded; a file system without locks counts as success."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        logging.getLogger(__name__).warning("%s cannot be locked: do not start a second run in it", folder)
    return True
