"""Files that are being written, beside the place that they will take."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

_ABANDONED = 24 * 3600  # seconds since one was written to


def unfinished(path: Path) -> Path:
    """A hidden name beside `path` that no other process uses; processes of several containers may have the same number."""
    return path.with_name(f".{path.stem}.{uuid4().hex}.tmp")


def remove_abandoned(folder: Path, pattern: str = ".*.tmp*") -> None:
    """Removes what killed processes have left, known by its age: others, on other machines too, may be writing now."""
    for path in folder.glob(pattern):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()
