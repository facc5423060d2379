"""Standard streams that never stop a program: closed ones are opened, and output that cannot be written is dropped."""

from __future__ import annotations

import io
import os
import select
import sys
from contextlib import suppress
from typing import Any


class _Output(io.FileIO):
    """A descriptor whose reader may be gone, whose disk may be full, and whose terminal may be closed."""

    def write(self, data: Any) -> int:
        try:
            while (written := super().write(data)) is None:  # it does not block, and its reader is slow
                select.select([], [self], [])
        except OSError:
            return len(data)  # the next piece is tried again: a disk may have room by then
        return written


def keep_streams() -> None:
    """Opens the null device in place of closed streams, and replaces stdout and stderr by ones that never fail.

    Otherwise the first files that are opened get the descriptors of closed streams, and what a library prints goes into
    them. Both streams are line-buffered, so nothing printed is lost however the program ends. Characters that the
    terminal's encoding lacks become escapes. Streams that a notebook or a test has put in place are left alone.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free number, which is this one
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        original = getattr(sys, name)
        if original is not getattr(sys, f"__{name}__"):
            continue
        if original is not None:
            with suppress(OSError):
                original.flush()
        buffer = io.BufferedWriter(_Output(descriptor, "w", closefd=False))
        encoding = getattr(original, "encoding", "utf-8")
        setattr(sys, name, io.TextIOWrapper(buffer, encoding, errors="backslashreplace", line_buffering=True))
