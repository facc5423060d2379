"""Data sets that torchvision downloads, checks and reads."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torchvision.datasets import VisionDataset

from project.data.base import ImageDataModule
from project.data.samples import Samples, Split
from project.errors import DataError
from project.files import OutputPath

try:
    import fcntl
except ImportError:  # Windows, where processes that start at once may both download
    fcntl = None  # type: ignore[assignment]  # and nothing takes it for a module


class DownloadedImages(ImageDataModule, ABC):
    """A data set with a training and a test split; validation is held out of the former.

    A subclass names torchvision's class and the files that can be put there by hand.

    Args:
        root: where the files are kept; they are downloaded there once, with progress and checksum.
        **options: those of `ImageDataModule`.
    """

    title: ClassVar[str]
    files: ClassVar[str]

    def __init__(self, root: OutputPath = "data", **options: Any) -> None:
        super().__init__(**options)
        self.root = str(Path(os.path.expanduser(root)))

    @abstractmethod
    def read(self, train: bool) -> VisionDataset:
        """One of the two splits, downloaded if need be."""

    @cached_property
    def class_names(self) -> list[str]:
        """In the order of the labels."""
        return list(self._parts["train"].classes)

    @cached_property
    def _parts(self) -> dict[Split, VisionDataset]:
        try:
            with _one_at_a_time(Path(self.root)):
                return {"train": self.read(train=True), "test": self.read(train=False)}
        # URLError is an OSError; a wrong checksum is a RuntimeError, and an unpacked file of other bytes any of the rest
        except (OSError, RuntimeError, ValueError, TypeError, LookupError, AssertionError) as error:
            reason = " ".join(str(error).split()) or "a file is damaged"
            raise DataError(f"data.root: {self.title} cannot be downloaded to {self.root}: {reason}; put "
                            f"{self.files} there by hand and try again") from None  # fmt: skip

    def load_splits(self) -> dict[Split, Samples]:
        """Both splits, in memory."""
        return {
            split: Samples(np.asarray(part.data), np.asarray(part.targets, np.int64), split)
            for split, part in self._parts.items()
        }


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Keeps processes that start together from downloading the same file."""
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None or not os.access(folder, os.W_OK):
        yield
        return
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # given back with the file
        yield
    finally:
        os.close(descriptor)
