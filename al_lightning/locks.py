"""A lock on a file, which a process holds until it releases it or ends, however it ends."""

import fcntl
import os
import time
from pathlib import Path
from typing import BinaryIO

# A process loses its lock when it closes any handle of the file, so a locked file is opened only once. A forked process inherits no lock.
_LOCKED: dict[Path, BinaryIO] = {}
os.register_at_fork(after_in_child=_LOCKED.clear)
# Whoever asks whether a lock is held holds it for a moment, so one attempt is not enough.
_ATTEMPTS, _BETWEEN = 5, 0.02  # seconds


def lock(path: Path) -> bool:
    """Locks a file, which is made if it is missing.

    Returns:
        Whether this process holds the lock now; always True on a file system without locks.
    """
    real = path.resolve()
    if real in _LOCKED:
        return True
    file = real.open("wb")
    for attempt in range(_ATTEMPTS):
        if _could_lock(file, fcntl.LOCK_EX):
            _LOCKED[real] = file
            return True
        time.sleep(_BETWEEN * (attempt + 1 < _ATTEMPTS))
    file.close()
    return False


def unlock(path: Path) -> None:
    """Releases the lock, if this process holds it."""
    if file := _LOCKED.pop(path.resolve(), None):
        file.close()


def is_locked_elsewhere(path: Path) -> bool:
    """Whether another process holds the lock; False if this process may not read the file, and so can't tell."""
    if path.resolve() in _LOCKED or not path.exists():
        return False
    try:
        with path.open("rb") as file:
            return not _could_lock(file, fcntl.LOCK_SH)
    except PermissionError:
        return False


def _could_lock(file: BinaryIO, kind: int) -> bool:
    try:
        fcntl.lockf(file, kind | fcntl.LOCK_NB)  # unlike flock, not passed on to loading processes, which may outlive this one
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks: users have to take care themselves
        pass
    return True
