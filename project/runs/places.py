"""Directories outside of runs that libraries count on."""

from __future__ import annotations

import os
import tempfile

from project.errors import RunError

_MEMORY = "/dev/shm"  # noqa: S108  what is writable in a container whose root is not


def provide_places() -> None:
    """Names a home for a user id that has none, and a directory for temporary files where the usual ones are read-only.

    Raises:
        RunError: there is no such directory.
    """
    if os.path.expanduser("~") == "~":
        os.environ["HOME"] = "/"  # as container engines do
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        if not os.access(_MEMORY, os.W_OK):
            raise RunError(
                "no directory for temporary files can be written; name one with the variable TMPDIR"
            ) from None
        os.environ["TMPDIR"] = tempfile.tempdir = _MEMORY
