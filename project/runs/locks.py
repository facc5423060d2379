"""Locks that one process at a time holds, such as that of a run directory; the system releases them when it ends."""

from __future__ import annotations

import errno
import math
import os
import re
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from project.errors import RunError
from project.files import open_regular
from project.runs.records import set_aside
from project.text import print_lines

PATIENCE = 5.0
"""Seconds before a lock counts as held: a large process that was killed takes some to disappear."""

_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EINVAL)
_HOLDER = re.compile(r"process \d{1,10} on [\w.-]{1,253}", re.ASCII)


class Lock:
    """A locked file, which holds the process and its host, and is removed when it is released.

    Without locks on the system or on the file system, such as some network disks, it is only a file.

    Args:
        path: the file, in a directory that there is.
        busy: what is said where another process holds it; `{}` stands for that process.
        patience: seconds to wait for it; with `math.inf` it says so and waits.

    Raises:
        RunError: another process holds it.
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, busy: str, patience: float = PATIENCE) -> None:
        self.path = path
        deadline, waiting = time.monotonic() + patience, False
        while (descriptor := _try_lock(path)) is None:
            if time.monotonic() >= deadline:
                raise RunError(busy.format(_holder(path)))
            if patience == math.inf and not waiting:
                print_lines(f"{path.parent}: waiting for {_holder(path)}")
                waiting = True
            time.sleep(0.1)
        self._descriptor: int | None = descriptor
        _held.add(self)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())

    def release(self) -> None:
        """Removes the file, if it is still this one, and releases it."""
        if self._descriptor is not None:
            with suppress(OSError):
                if os.path.samestat(os.fstat(self._descriptor), os.stat(self.path)):
                    self.path.unlink()
            self.close()

    def close(self) -> None:
        """Closes the file; it stays locked where another process has it open, too."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            _held.discard(self)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


_held: set[Lock] = set()


def _close_inherited() -> None:
    """A forked process, such as a loader's worker, would keep the lock of a process that was killed."""
    for lock in list(_held):
        lock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)


def _try_lock(path: Path) -> int | None:
    """The descriptor of the locked file; None where another process holds it."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        set_aside(path, "not a regular file")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if _flock(descriptor) and os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return descriptor
    except FileNotFoundError:  # released in between
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _flock(descriptor: int) -> bool:
    """Whether no other process has the file locked."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    return True


def _holder(path: Path) -> str:
    """The process that holds a lock, as its file has it."""
    with suppress(OSError), open_regular(path) as file:
        if found := _HOLDER.match(file.read(300).decode("utf-8", "replace")):
            return found[0]
    return "another process"
