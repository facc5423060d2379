"""Files to predict on, by the names that a user gives."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from project.data.images import find_images, is_image_name
from project.errors import ConfigError, DataError


def find_inputs(given: str | Sequence[str] | None) -> list[Path]:
    """The image files that folders (searched to the bottom), files or glob patterns name, in order, each once.

    Raises:
        ConfigError: nothing was named.
        DataError: there is no such file, or none is an image.
    """
    if not given:
        raise ConfigError("data.predict: name the images to predict on, such as --data.predict photos/")
    patterns = [given] if isinstance(given, str) else given
    return list(dict.fromkeys(path for pattern in patterns for path in _find(pattern)))


def _find(pattern: str) -> list[Path]:
    path = Path(os.path.expanduser(pattern))
    if path.is_dir():
        found = find_images(path)
    elif path.exists():
        found = [path]
    else:
        matches = sorted(map(Path, glob.glob(str(path), recursive=True)))
        found = [match for match in matches if is_image_name(match.name) and not match.is_dir()]
    if not found:
        what = "the folder holds no images" if path.is_dir() else "there is no such folder, and no such image file"
        raise DataError(f"data.predict: {pattern}: {what}")
    return found
