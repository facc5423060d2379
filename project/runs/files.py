"""Files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the block ends well, and vanishes when it does not.

    It lies beside `path`, so that the rename is one step, and it reaches the disk before that: after a kill, a full disk
    or a power cut `path` has its earlier content or the new one.
    """
    temporary = _temporary(path)
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        _flush_folder(path.parent)


def write_atomically(path: Path, text: str) -> None:
    """Replaces a text file in one step; what is no text, such as some files' names, is written as its escapes."""
    with replacing(path) as file:
        file.write(text.encode(errors="backslashreplace"))


def remove_leftovers(folder: Path) -> None:
    """Removes what `replacing` left in a folder when its process was killed; not while another process writes there."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _flush_folder(folder: Path) -> None:
    """The rename itself reaches the disk with the folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems flush no folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
