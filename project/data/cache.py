"""Cached arrays: rows with checksums in files below `data.cache_dir`, named by a hash of what they are computed from.

Shapes: N rows in a file, B of them at a time.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from hashlib import sha256
from io import FileIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from lightning.fabric.utilities.distributed import _InfiniteBarrier

from project.data.samples import Samples
from project.errors import DataError
from project.files import remove_abandoned, temporary_path
from project.text import print_lines

_FORMAT = 2  # raise it when files or keys are made in another way, or decoding gives other pixels
_HEADER = 4096  # bytes before the rows
_MARK = 4  # bytes of a row's checksum
_AT_ONCE = 2**20  # bytes, which a processor's cache holds
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
Result = TypeVar("Result")


def cache_key(facts: object, samples: Samples | None = None) -> str:
    """A file name's part that is another where the cached rows would be others.

    Args:
        facts: what they follow from, as JSON takes it.
        samples: the images that they are computed from: by their pixels, or their files' names and states, and the value
            range that they are decoded with.
    """
    digest = sha256(json.dumps([_FORMAT, facts]).encode())
    if samples is not None and samples.value_range is not None:
        digest.update(repr(samples.value_range).encode())
    if samples is not None and samples.in_memory:
        digest.update(samples.fingerprint().encode())
    elif samples is not None:
        for path in samples.images:
            digest.update(os.fsencode(f"{os.path.abspath(path)}\0{_state(path)}\n"))
    return digest.hexdigest()[:32]


def _state(path: Path) -> tuple[int, ...]:
    """Size, time of the last write, inode and time of the last change of any of these.

    A file that was replaced, or overwritten and given its earlier time again, has another inode or time of change.
    """
    try:
        status = os.stat(path)
    except OSError:  # a broken link, which decoding reports
        return ()
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns


class CachedRows:
    """N rows of an array in a file that any number of processes read and fill, each row once it is known.

    Behind each row lies its CRC-32. A row whose writing was cut off, that two processes wrote at once, or that was
    damaged later does not match it and counts as absent: nothing is locked, and no order of writing is needed. Files are
    read and never mapped into memory, so that one which is truncated meanwhile ends early, without a SIGBUS.

    Only files of this user or of root that nobody else can write to are read, and no symbolic links. In a directory of
    another user they lie in one that belongs to this user.

    Args:
        path: the file; made anew where it is damaged, foreign or of other sizes.
        count: N.
        shape: of a row.
        dtype: of its numbers.
        what: the rows, in messages.
        sparse: whether disk space is taken by the rows that are written, in place of that of all N from the start.
    """

    def __init__(
        self, path: Path, count: int, shape: tuple[int, ...], dtype: type[np.generic], what: str, sparse: bool = False
    ) -> None:
        self.path = path
        self.shape = (count, *shape)
        self.dtype = np.dtype(dtype)
        self.what = what
        self.sparse = sparse
        self.problem: str | None = None
        """Why rows are no longer kept."""
        self._stride = math.prod(shape) * self.dtype.itemsize + _MARK
        facts = {"format": _FORMAT, "name": path.name, "shape": self.shape, "dtype": self.dtype.str}
        self._header = json.dumps(facts).encode().ljust(_HEADER)
        self._file: FileIO | None = None
        try:
            self.path = _own_directory(path.parent) / path.name
            self._file = self._open()
        except OSError as error:
            self._give_up(error)

    @property
    def num_bytes(self) -> int:
        """The size of all rows together."""
        return self.shape[0] * self._stride

    # ---- reading

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows (B, ...) at `indices`, (B,) int64, and which of them there are, (B,); the others have any content."""
        rows = np.zeros((len(indices), self._stride), np.uint8)
        if self._file is None:
            return self._values(rows), np.zeros(len(indices), bool)
        try:
            for offset, run in self._runs(indices):
                self._file.seek(offset)
                self._file.readinto(rows[run].data)  # beyond the end there is nothing, and zeros are no row
        except OSError as error:  # a bad sector, or a network disk that is gone
            _say(f"{self.what}: {self.path} cannot be read ({error.strerror or error})")
        found = self._checksums(indices, rows) == rows[:, -_MARK:].copy().view("<u4")[:, 0]
        if rows[~found].any():
            _say(f"{self.what}: {self.path} is damaged; what is wrong there is computed again")
        return self._values(rows), found

    def get(self, indices: np.ndarray) -> np.ndarray:
        """The rows (B, ...) at `indices`, (B,) int64, of a file that was complete.

        Raises:
            DataError: it has been damaged since.
        """
        values, found = self.read(indices)
        if not found.all():
            raise DataError(f"{self.path}: damaged or cut off while it was in use; run the command again, and "
                            f"{self.what} are computed again")  # fmt: skip
        return values

    def is_complete(self) -> bool:
        """Whether all rows are there."""
        return self._file is not None and all(
            self.read(part)[1].all() for part in self._parts(np.arange(self.shape[0]))
        )

    def complete(self, compute: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """All rows, (N, ...), from the file or else computed and kept, and which of them there are now, (N,).

        Args:
            compute: fills the rows of an array (N, ...) that it is given the indices of, and returns the indices of
                those that it could.
        """
        values, found = np.empty(self.shape, self.dtype), np.zeros(self.shape[0], bool)
        if self._file is not None:
            for part in self._parts(np.arange(self.shape[0])):
                values[part], found[part] = self.read(part)
        missing = np.flatnonzero(~found)
        if len(missing):
            computed = compute(values, missing)
            found[computed] = True
            for part in self._parts(computed):
                self.write(part, values[part])
        return values, found

    # ---- writing

    def write(self, indices: np.ndarray, values: np.ndarray) -> None:
        """Keeps `values`, (B, ...), as the rows at `indices`, (B,) int64; where that fails, one line says so, once."""
        self.create()
        if self.problem or self._file is None:
            return
        rows = np.empty((len(indices), self._stride), np.uint8)
        rows[:, :-_MARK] = np.ascontiguousarray(values, self.dtype).view(np.uint8).reshape(rows[:, :-_MARK].shape)
        rows[:, -_MARK:] = self._checksums(indices, rows).astype("<u4")[:, None].view(np.uint8)
        try:
            for offset, run in self._runs(indices):
                self._file.seek(offset)
                left = rows[run].data.cast("B")
                while left:  # the last that fits on a disk is written in part, and then comes the error
                    left = left[self._file.write(left) :]
        except OSError as error:
            self._give_up(error)

    def create(self) -> None:
        """Makes the file, if it is not there; where that fails, `problem` says why."""
        if self._file is not None or self.problem:
            return
        temporary = temporary_path(self.path)
        try:
            remove_abandoned(self.path.parent)
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
            with open(descriptor, "wb") as file:
                file.write(self._header)
                file.truncate(_HEADER + self.num_bytes)
                if not self.sparse and hasattr(os, "posix_fallocate"):  # a full disk is an error now, before the work
                    os.posix_fallocate(descriptor, _HEADER, self.num_bytes)
            try:
                os.link(temporary, self.path)  # not over what another process has made meanwhile, and writes to
            except OSError:  # something is there, or the file system has no links
                self._file = self._open()
                if self._file is None:
                    os.replace(temporary, self.path)
            self._file = self._file or self._open()
            if self._file is None:
                raise OSError(errno.EPERM, "other users can write to what is made there")
        except OSError as error:
            self._give_up(error)
        finally:
            temporary.unlink(missing_ok=True)

    def remove(self) -> None:
        """Deletes the file, if it is there and this user's: what is in it is of no use."""
        if self._file is not None:
            with suppress(OSError):
                self.path.unlink()

    # ---- how

    def _give_up(self, error: OSError) -> None:
        self.problem = error.strerror or str(error)
        _say(f"{self.what} are not kept: {self.path.parent} cannot be written ({self.problem})")

    def _open(self) -> FileIO | None:
        """The file, if it is there, to be trusted and not damaged; of another one, a line says why it is not used."""
        try:
            file = _open_private(self.path)
            if file.read(_HEADER) == self._header and os.fstat(file.fileno()).st_size == _HEADER + self.num_bytes:
                return file
            reason = "it is damaged, or something else"
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = error.strerror or str(error)
        _say(f"{self.what}: {self.path} is not used ({reason}); they are computed again")
        return None

    def _values(self, rows: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(rows[:, :-_MARK]).view(self.dtype).reshape(-1, *self.shape[1:])

    def _checksums(self, indices: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(B,) uint32: of a row at another index another, and never 0, which is what an unwritten file has."""
        marks = [zlib.crc32(row, index) or 1 for index, row in zip(indices.tolist(), rows[:, :-_MARK], strict=True)]
        return np.array(marks, np.uint32)

    def _runs(self, indices: np.ndarray) -> Iterator[tuple[int, slice]]:
        """Where in the file each run of consecutive rows begins, and where in `indices` it lies."""
        firsts = np.flatnonzero(np.diff(indices, prepend=-2) != 1).tolist()
        for first, end in zip(firsts, [*firsts[1:], len(indices)], strict=False):
            yield _HEADER + int(indices[first]) * self._stride, slice(first, end)

    def _parts(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """The same indices, as many at a time as memory has room for."""
        step = max(1, _AT_ONCE // self._stride)
        for first in range(0, len(indices), step):
            yield indices[first : first + step]


def one_process_first(local_rank: int, work: Callable[[], Result]) -> Result:
    """The result of `work`, done by one process of each machine and then by the others, which find what it has kept."""
    for turn in (True, False):
        with _InfiniteBarrier():  # it may take longer than processes wait for each other
            if turn is (local_rank == 0):
                result = work()
    return result


def _own_directory(directory: Path) -> Path:
    """The directory, made if need be, or inside another user's one that belongs to this user.

    Raises:
        OSError: there is none and none can be made.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_ours(directory.stat()):
        return directory
    own = directory / f"user-{os.geteuid()}"
    try:
        own.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        raise PermissionError(errno.EACCES, "it belongs to another user") from None
    if not _is_private(own.lstat()):  # a link is writable by all
        raise PermissionError(errno.EACCES, f"{own.name} in it belongs to another user")
    _say(f"data.cache_dir: {directory} belongs to another user; {own} is used in its place")
    return own


def _open_private(path: Path) -> FileIO:
    """A file for reading, and for writing where that is allowed.

    Raises:
        OSError: it cannot be opened, is a link or no regular file, or others could have written it.
    """
    try:
        descriptor, mode = os.open(path, os.O_RDWR | _FLAGS), "r+b"
    except OSError:
        descriptor, mode = os.open(path, os.O_RDONLY | _FLAGS), "rb"
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or not _is_private(status):
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "no regular file, or another user can write to it")
    file = FileIO(descriptor, mode, closefd=False)
    weakref.finalize(file, os.close, descriptor)  # readers live as long as loaders, which nobody closes
    return file


def _is_ours(status: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or status.st_uid in (0, os.geteuid())


def _is_private(status: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or (_is_ours(status) and not status.st_mode & 0o022)


@cache
def _say(line: str) -> None:
    """Once in a process: many batches may meet the same."""
    print_lines(line)
