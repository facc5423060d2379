"""The file that knows pieces from outside (docs/how-to), named by the variable PROGRAM: for what is not started by it."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

from project.errors import ConfigError

_VARIABLE = "PROGRAM"


def program() -> list[str]:
    """What stands between `python` and a verb: the file, or `-m project`."""
    named = os.environ.get(_VARIABLE)
    return [named] if named else ["-m", "project"]


def import_pieces() -> None:
    """Imports what the file imports, so that registries know it.

    Raises:
        ConfigError: there is no such file.
    """
    named = os.environ.get(_VARIABLE)
    if not named:
        return
    if not Path(named).is_file():
        raise ConfigError(f"{_VARIABLE}: {named}: there is no such file; it names the one that knows your own pieces")
    sys.path.insert(0, str(Path(named).resolve().parent))
    runpy.run_path(named)
