"""One split of a data set before it is decoded, and how a split is made from one that has none."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self, overload

import numpy as np

from project.data.images import ValueRange, shorter_sides

_SIZES = (32, 96)  # pixels: the range of an image size that is not given
_NAMED = 5  # classes in a line

Split = Literal["train", "val", "test", "predict"]


class Paths(Sequence[Path]):
    """A list of paths in one piece of memory.

    A million `Path` objects take half a gigabyte, and every worker process ends up with a copy of its own, since
    counting references writes to the memory that they share.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        encoded = [os.fsencode(path) for path in paths]
        self._ends = np.cumsum([len(path) for path in encoded], dtype=np.int64)
        self._bytes = b"".join(encoded)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Paths: ...
    def __getitem__(self, index: int | slice) -> Path | Paths:
        if isinstance(index, slice):
            return Paths(self[i] for i in range(*index.indices(len(self))))
        index = range(len(self))[index]  # counts negative ones from the end, and raises beyond it
        start = self._ends[index - 1] if index else 0
        return Path(os.fsdecode(self._bytes[start : self._ends[index]]))


@dataclass(frozen=True)
class Samples:
    """Images and labels of one split.

    images: paths of image files (kept as `Paths`), or (N, H, W) grey or (N, H, W, 3) RGB uint8.
    labels: (N,) int64, an index into the data set's `class_names`.
    split: which split this is, for messages and for the choice of what is augmented.
    root: the directory that the names of files start from; by default the deepest one that has all of them, which
        another file may change, and with it a split by fraction.
    value_range: the values of grey images with more than 8 bits that become black and white, where there is such a range.
    """

    images: Sequence[Path] | np.ndarray
    labels: np.ndarray
    split: Split
    root: Path | None = field(default=None, kw_only=True)
    value_range: ValueRange | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not self.in_memory:
            object.__setattr__(self, "images", self.images if isinstance(self.images, Paths) else Paths(self.images))

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: np.ndarray, split: Split) -> Self:
        """The samples at `indices`, as a split of that name."""
        images = self.images[indices] if isinstance(self.images, np.ndarray) else Paths(self.images[i] for i in indices)
        return replace(self, images=images, labels=self.labels[indices], split=split)

    @property
    def in_memory(self) -> bool:
        """Whether the images are decoded already."""
        return isinstance(self.images, np.ndarray)

    def keys(self) -> list[str]:
        """A name for each sample that is the same wherever the set lies: its path in it, or its index."""
        if self.in_memory:
            return [str(i) for i in range(len(self))]
        root = self.root or os.path.commonpath([path.parent for path in self.images])
        return [os.path.relpath(path, root).replace(os.sep, "/") for path in self.images]

    def usual_size(self) -> int:
        """The median shorter side of some 500 images, spread evenly, as a multiple of 8 between 32 and 96 pixels."""
        if isinstance(self.images, np.ndarray):
            median = min(self.images.shape[1:3])
        else:
            sides = list(shorter_sides(self.images[:: max(1, len(self) // 500)]))
            median = int(np.median(sides)) if sides else _SIZES[0]
        return int(np.clip(round(median / 8) * 8, *_SIZES))

    def name_of(self, index: int) -> str:
        """What to call a sample in a message or on a page: its file, or its place in the split."""
        return f"{self.split} {index}" if self.in_memory else str(self.images[index])

    def absent_classes(self, class_names: list[str]) -> str | None:
        """One line that names the classes without images; None where all have some, or there are no classes."""
        counts = np.bincount(self.labels, minlength=len(class_names))
        absent = [f"'{name}'" for name, count in zip(class_names, counts, strict=False) if not count]
        if not absent:
            return None
        more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
        return (f"data: the {self.split} split has no images of {len(absent)} of {len(class_names)} classes, which it cannot "
                f"measure: {', '.join(absent[:_NAMED])}{more}")  # fmt: skip

    def fingerprint(self) -> str:
        """Tells one data set from another: of pixels and labels in memory, of paths, sizes and labels on disk."""
        digest = hashlib.sha256(self.labels.tobytes())
        if isinstance(self.images, np.ndarray):
            digest.update(np.ascontiguousarray(self.images).data)
        else:
            for key, path in zip(self.keys(), self.images, strict=True):
                digest.update(os.fsencode(key) + f"\0{_size(path)}\n".encode())
        return digest.hexdigest()[:16]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a broken link, which decoding reports
        return -1


def stratified_split(labels: np.ndarray, keys: list[str], fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Holds out about `fraction` of each class.

    A sample's place in the order of its class is a hash of its key and the seed, so the split is the same on every
    machine and changes little when files are added.

    Args:
        labels: (N,) int64.
        keys: N distinct names.
        fraction: 0 to 1; of each class this share, rounded, and at least one of two or more, is held out.
        seed: another seed, another split.

    Returns:
        Indices kept and indices held out, each ascending.
    """
    prefix = f"{seed}\0".encode()
    rank = np.array([hashlib.blake2b(prefix + os.fsencode(key), digest_size=8).digest() for key in keys])
    held_out = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = round(fraction * len(members))
        if fraction > 0:
            count = min(max(count, 1), len(members) - 1)
        held_out.append(members[np.argsort(rank[members], kind="stable")[:count]])
    held = np.sort(np.concatenate(held_out)) if held_out else np.array([], np.int64)
    return np.setdiff1d(np.arange(len(labels)), held), held
