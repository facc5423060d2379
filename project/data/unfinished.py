"""Names of files that are being written to the cache, beside the place that they will take."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4


def unfinished(path: Path) -> Path:
    """A hidden name beside `path` that no other process uses; processes of several containers may have the same number."""
    return path.with_name(f".{path.stem}.{uuid4().hex}.tmp")
