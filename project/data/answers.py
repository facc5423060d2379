"""Short rows of numbers in a file that many runs fill and read, each row once it is known.

Shapes: N samples of V pictures each, W numbers in each answer, B and M answers.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from project.files import temporary_path

_FORMAT = 1  # of the files: raise it when they are written in another way
_HEADER = 4096  # bytes before the answers
_MARK = 2  # float16 numbers that an answer's mark takes the place of


class AnswerFile:
    """N · V answers of W float16 numbers in a sparse file, those that were given so far.

    Beside each answer lies a mark, a checksum of its bits and never 0: an answer that was cut off in the middle, by a
    kill, a power cut or two processes that wrote it at once, does not match its mark and counts as not given. So any
    number of processes of a machine may read and write the same file without locks.

    Args:
        path: the file; made anew where it is not whole or not of this key and these sizes.
        key: what it holds the answers of.
        num_samples: N.
        num_views: V.
        width: W.

    Raises:
        OSError: it cannot be made or opened.
    """

    def __init__(self, path: Path, key: str, num_samples: int, num_views: int, width: int) -> None:
        self.path = path
        self.num_views = num_views
        facts = {"format": _FORMAT, "key": key, "samples": num_samples, "views": num_views, "width": width}
        header = json.dumps(facts).encode().ljust(_HEADER)
        _make(path, header, _HEADER + file_bytes(num_samples, num_views, width))
        shape = (num_samples * num_views, width + _MARK)
        self._rows = np.memmap(path, np.uint16, "r", _HEADER, shape).view(np.ndarray)
        # odd ones: that any one number is another changes the sum, in other bits than the highest
        self._factors = np.arange(1, width + 1, dtype=np.uint32) * np.uint32(0x9E3779B1) | np.uint32(1)

    def find(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Answers (B, W) float16 to `cells`, (B,) int64, each sample · V + view; and which of them there are, (B,)."""
        rows = self._rows[cells]
        bits = np.ascontiguousarray(rows[:, :-_MARK])
        marks = np.ascontiguousarray(rows[:, -_MARK:]).view(np.uint32)[:, 0]
        return bits.view(np.float16), marks == self._marks(bits)

    def add(self, cells: np.ndarray, answers: np.ndarray) -> None:
        """Writes `answers`, (M, W) float16, to `cells`, (M,) int64.

        Raises:
            OSError: the disk is full, or the file was deleted.
        """
        bits = np.ascontiguousarray(answers).view(np.uint16)
        rows = np.concatenate([bits, self._marks(bits)[:, None].view(np.uint16)], 1)
        # not through the map, where a full disk is no error but a SIGBUS
        with open(self.path, "r+b", buffering=0) as file:
            for cell, row in zip(cells.tolist(), rows, strict=True):
                file.seek(_HEADER + cell * row.nbytes)
                file.write(row.tobytes())

    def _marks(self, bits: np.ndarray) -> np.ndarray:
        return (bits.astype(np.uint32) @ self._factors) << np.uint32(1) | np.uint32(1)


def file_bytes(num_samples: int, num_views: int, width: int) -> int:
    """How long all answers together are."""
    return num_samples * num_views * (width + _MARK) * 2


def _make(path: Path, header: bytes, size: int) -> None:
    if _is_whole(path, header, size):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        with open(temporary, "wb") as file:
            file.write(header)
            file.truncate(size)
        try:
            os.link(temporary, path)  # not over what another process has made meanwhile, and writes to
        except OSError:  # something is there, or the file system has no links
            if not _is_whole(path, header, size):
                os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_whole(path: Path, header: bytes, size: int) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(_HEADER) == header and os.fstat(file.fileno()).st_size == size
    except OSError:
        return False
