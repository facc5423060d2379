"""Files on disk: UTF-8 text, and writes that are whole or absent, whatever happens in between."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, BinaryIO
from uuid import uuid4

OUTPUT = "output"
OutputPath = Annotated[str, OUTPUT]
"""The annotation of an option that names a place to write to. Only the user sets it: no checkpoint can."""

_ABANDONED = 24 * 3600  # seconds since the last write


def read_text(path: str | Path) -> str:
    """The content of a UTF-8 text file, whatever the locale.

    Raises:
        OSError: it cannot be read, or is no regular file: opening a FIFO waits, and reading a device may never end.
        UnicodeDecodeError: it is not UTF-8.
    """
    with open_regular(path) as file:
        return file.read().decode("utf-8")


def open_regular(path: str | Path) -> BinaryIO:
    """Opens a file for reading; `OSError` where it is a FIFO, a device, a socket or a directory, without waiting."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which replaces `path` when the block succeeds and is removed when it fails.

    It lies beside `path`, so that the rename is one step, and it reaches the disk before that: after a kill, a full disk
    or a power cut `path` has its earlier content or the new one.
    """
    temporary = temporary_path(path)
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        _flush_directory(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replaces a UTF-8 text file in one step; characters that UTF-8 lacks, as in some file names, become escapes."""
    with atomic_write(path) as file:
        file.write(text.encode(errors="backslashreplace"))


def temporary_path(path: Path) -> Path:
    """A hidden name beside `path` that no other process uses; process numbers repeat across containers."""
    return path.with_name(f".{path.name}.{uuid4().hex}.tmp")


def remove_leftovers(directory: Path) -> None:
    """Removes the temporary files of killed processes; only where no other process writes."""
    for path in directory.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def remove_abandoned(directory: Path, pattern: str = ".*.tmp*") -> None:
    """Removes temporary files a day after their last write; other processes may be writing younger ones."""
    for path in directory.glob(pattern):
        with suppress(OSError):  # it is gone, or another user's
            if time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()


def _flush_directory(directory: Path) -> None:
    """The rename itself reaches the disk with the directory."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
