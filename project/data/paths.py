"""Image files that an annotation file or a table lists by their paths in a directory."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_info

from project.errors import DataError

_NAMED = 3  # missing files that a message names


def inside(folder: Path, relative: str, where: str = "data") -> Path:
    """Path of a listed file, which lies in `folder`: a file from others must not lead elsewhere.

    Args:
        folder: of the images.
        relative: as the file lists it: relative to the folder, or absolute and in it.
        where: the entry, for the message.

    Raises:
        DataError: it leaves the folder, or cannot be the name of a file.
    """
    # `a/../b` loses its middle here, so that no link `a` can turn it into something else
    path = os.path.normpath(relative) if relative else "."
    if os.path.isabs(path):
        # with the folder's own path, or with the one that its links lead to
        places = [os.path.relpath(path, base) for base in (os.path.abspath(folder), os.path.realpath(folder))]
        path = next((place for place in places if place.split(os.sep)[0] != os.pardir), path)
    if os.path.isabs(path) or os.path.splitdrive(path)[0] or path.split(os.sep)[0] == os.pardir:
        raise DataError(f"{where}: {relative!r} leads out of {folder}; name images by their path in that folder")
    try:
        possible = path != os.curdir and b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise DataError(f"{where}: {relative!r} is no name of a file; give the image's path in {folder}")
    return folder / path


def present_files(paths: Sequence[Path], folder: Path, option: str, skipped: set[str] | None = None) -> list[int]:
    """Indices of the listed files that are there, all looked for at once, before any time is spent on them.

    Args:
        paths: of images, as `inside` gives them.
        folder: that they lie in.
        option: names the folder, for the message.
        skipped: takes a line for each missing file, which is left out; without it, a missing file is an error.

    Raises:
        DataError: some are not there, and none may be left out; or none is there.
    """
    by_folder: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        parent, name = os.path.split(path)
        by_folder[parent].append(name)
    absent: set[str] = set()
    for parent, names in by_folder.items():
        # one listing instead of a question for each file, which takes minutes on a network's disk
        there = _files(parent)
        # asked for what the listing lacks: some disks know a file by more than one spelling
        absent |= {
            file for name in names if name not in there and not os.path.isfile(file := os.path.join(parent, name))
        }
    present = [index for index, path in enumerate(paths) if str(path) not in absent]
    if absent and (skipped is None or not present):
        raise DataError(f"{option}: {_missing(paths, absent, folder)}")
    if absent:
        assert skipped is not None
        skipped.update(f"{path}: is not there" for path in absent)
        rank_zero_info(f"{option}: {len(paths) - len(present)} of {len(paths)} listed images are not there, and are left "
                       "out of training")  # fmt: skip
    return present


def _missing(paths: Sequence[Path], absent: set[str], folder: Path) -> str:
    """The end of a message: how many files are missing, the first of them, and what is there in their place."""
    count = sum(str(path) in absent for path in paths)
    first = list(dict.fromkeys(path for path in map(str, paths) if path in absent))
    names, similar = [], False
    for path in first[:_NAMED]:
        name = os.path.relpath(path, folder)
        other = _spelt_otherwise(name, folder)
        similar |= other is not None
        names.append(path if other is None else f"{path} (there is {other})")
    more = f" and {len(first) - _NAMED} more" if len(first) > _NAMED else ""
    repair = "list files by the names that they have" if similar else "add them, or give the directory that has them"
    skip = "" if count == len(paths) else ", or leave out those of training with --data.on_bad_image skip"
    return f"{count} of {len(paths)} listed images are not there: {', '.join(names)}{more}; {repair}{skip}"


def _spelt_otherwise(name: str, folder: Path) -> str | None:
    r"""A file like `name` in case, `\`, blanks, quotation marks, form of Unicode or the directories that it begins with."""
    parts = [part for part in name.replace("\\", "/").split("/") if part]
    for start in range(len(parts)):
        found = os.fspath(folder)
        for part in parts[start:]:
            wanted, inner = _plain(part), found
            found = next((os.path.join(inner, name) for name in _names(inner) if _plain(name) == wanted), "")
            if not found:
                break
        if os.path.isfile(found):
            return os.path.relpath(found, folder)
    return None


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip(" \"'").casefold()


def _files(folder: str) -> set[str]:
    try:
        with os.scandir(folder or os.curdir) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:  # no such folder, or one that may not be listed
        return set()


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder or os.curdir))
    except OSError:
        return []
