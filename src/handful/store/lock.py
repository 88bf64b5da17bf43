"""One process a run: whoever writes a run folder holds its lock until it ends or dies.

The lock is the kernel's (``flock``), so that of a process that was killed is free at once;
the file only says who holds it.  Where there is no ``flock`` nothing is locked.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from pathlib import Path

from handful.errors import RunFolderError

__all__ = ["FolderLock"]


class FolderLock:
    """The lock of a folder, taken when it is made; `RunFolderError` when another holds it.

    It is given back by ``release``, when the object goes, and at the latest by the end of
    the process.  ``lock`` in the folder holds the number of the process.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lock"
        handle = _opened(self.path)
        self.release = weakref.finalize(self, _give_back, handle, self.path)


def _opened(path: Path) -> int:
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunFolderError(
                f"{path.parent} cannot be written: {error.strerror}; choose another folder"
            ) from error
        if not _locks(handle):
            holder = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise RunFolderError(
                f"{path.parent} is being written by another process (number {holder}):"
                " wait for it, end it, or choose another folder"
            )
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                break
        os.close(handle)  # the one before took its file away in the meantime
    with suppress(OSError):  # a full disk: the lock holds without a number in it
        os.truncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
    return handle


def _locks(handle: int) -> bool:
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _give_back(handle: int, path: Path) -> None:
    with suppress(OSError):
        path.unlink()
    os.close(handle)
