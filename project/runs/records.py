"""Text files of a run directory: parsed when they are read, and renamed where they are damaged."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TypeVar

from project.files import open_regular
from project.text import print_lines

Content = TypeVar("Content")

MEBIBYTE = 2**20


class DamagedFileError(ValueError):
    """A file that cannot be read or holds something else than it should; `str(error)` is the reason in a few words."""


def read_record(path: Path, parse: Callable[[str], Content], largest: int = 64 * MEBIBYTE) -> Content | None:
    """The parsed content of a UTF-8 file; None where there is none.

    Args:
        path: the file.
        parse: makes the content of the text; raises `ValueError`, `TypeError`, `LookupError` or `csv.Error` where it is
            damaged.
        largest: bytes of a file that can be whole.

    Raises:
        DamagedFileError: it is damaged.
    """
    try:
        if path.is_symlink():  # a stranger's run could have any file copied into it
            raise DamagedFileError("a link")
        with open_regular(path) as file:
            content = file.read(largest + 1)
        if len(content) > largest:
            raise DamagedFileError(f"larger than {largest // MEBIBYTE} MiB")
        if b"\0" in content:  # what a power cut leaves
            raise DamagedFileError("NUL bytes")
        return parse(content.decode("utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedFileError(error.strerror or type(error).__name__) from None
    except UnicodeDecodeError:
        raise DamagedFileError("not UTF-8") from None
    except DamagedFileError:
        raise
    except (TypeError, LookupError):
        raise DamagedFileError("other content") from None
    except (ValueError, csv.Error) as error:
        raise DamagedFileError(" ".join(str(error).split())[:100]) from None  # it may quote the file


def take_record(path: Path, parse: Callable[[str], Content], largest: int = 64 * MEBIBYTE) -> Content | None:
    """`read_record` for the process that is going to replace the file: a damaged one is set aside first.

    Returns:
        The content; None where there is none, or none any more.
    """
    try:
        return read_record(path, parse, largest)
    except DamagedFileError as error:
        set_aside(path, str(error))
        return None


def set_aside(path: Path, reason: str) -> None:
    """Renames what is in the place of a file, and prints so."""
    other = free_path(path.parent, f"{path.name}.damaged_{{}}", start=1)
    path.rename(other)
    print_lines(f"{path}: damaged ({reason}); set aside as {other.name}")


def free_path(directory: Path, pattern: str, start: int = 0) -> Path:
    """The first path that is not taken, of those with a number in the place of `{}`."""
    paths = (directory / pattern.format(number) for number in count(start))
    return next(path for path in paths if not os.path.lexists(path))
