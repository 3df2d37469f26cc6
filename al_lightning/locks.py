"""A lock on a file, which a process holds until it releases it or ends, however it ends."""

import fcntl
import os
from pathlib import Path
from typing import BinaryIO

# A process loses its lock when it closes any handle of the file, so a locked file is opened only once. A forked process inherits no lock.
_LOCKED: dict[Path, BinaryIO] = {}
os.register_at_fork(after_in_child=_LOCKED.clear)


def lock(path: Path) -> bool:
    """Locks a file, which is made if it is missing.

    Returns:
        Whether this process holds the lock now; always True on a file system without locks.
    """
    real = path.resolve()
    if real in _LOCKED:
        return True
    file = real.open("wb")
    if not _could_lock(file):
        file.close()
        return False
    _LOCKED[real] = file
    return True


def unlock(path: Path) -> None:
    """Releases the lock, if this process holds it."""
    if file := _LOCKED.pop(path.resolve(), None):
        file.close()


def is_locked_elsewhere(path: Path) -> bool:
    """Whether another process holds the lock."""
    if path.resolve() in _LOCKED or not path.exists():
        return False
    with path.open("wb") as file:
        return not _could_lock(file)


def _could_lock(file: BinaryIO) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, not passed on to loading processes, which may outlive this one
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks: users have to take care themselves
        pass
    return True
