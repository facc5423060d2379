"""The image files that an annotation file names."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from project.errors import DataError


def inside(folder: Path, relative: str, where: str = "data") -> Path:
    """`folder/relative`, which lies in the folder: what others wrote must not lead elsewhere.

    Args:
        folder: of the images.
        relative: as the annotation file names it.
        where: the entry, for the message.

    Raises:
        DataError: it is absolute, leaves the folder, or cannot be the name of a file.
    """
    # `a/../b` loses its middle here, so that no link `a` can turn it into something else
    path = os.path.normpath(relative) if relative else "."
    outside = os.path.isabs(path) or os.path.splitdrive(path)[0] or path.split(os.sep)[0] == os.pardir
    if outside:
        raise DataError(f"{where}: {relative!r} leads out of {folder}; name images by their path in that folder")
    try:
        possible = path != os.curdir and b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise DataError(f"{where}: {relative!r} is no name of a file; give the image's path in {folder}")
    return folder / path


def check_files(paths: Sequence[Path], option: str) -> None:
    """Looks for all files at once, before any time is spent on them.

    Args:
        paths: of images.
        option: says where they are, for the message.

    Raises:
        DataError: some are not there.
    """
    by_folder: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        folder, name = os.path.split(path)
        by_folder[folder].append(name)
    absent: set[str] = set()
    for folder, names in by_folder.items():
        # one listing instead of a question for each file, which takes minutes on a network's disk
        there = _files(folder)
        # asked for what the listing lacks: some disks know a file by more than one spelling
        absent |= {
            file for name in names if name not in there and not os.path.isfile(file := os.path.join(folder, name))
        }
    if absent:
        first = next(path for path in map(str, paths) if path in absent)
        raise DataError(f"{option}: {len(absent)} of {len(paths)} listed images are not there, the first of them {first}; "
                        "add them, or give the folder that has them")  # fmt: skip


def _files(folder: str) -> set[str]:
    try:
        with os.scandir(folder or os.curdir) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:  # no such folder, or one that may not be listed
        return set()
