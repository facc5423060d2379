"""Anyone's images: one folder a class."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from project.data.base import ImageDataModule
from project.data.images import find_images
from project.data.samples import Samples, Split, stratified_split
from project.errors import ConfigError, DataError, did_you_mean
from project.text import printable

_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val", "valid", "validation"),
    "test": ("test",),
}


class ImageFolder(ImageDataModule):
    """A tree of class folders: `root/train/CLASS/*.jpg` with `val` and `test` beside it, or `root/CLASS/*.jpg` alone.

    A missing validation split is held out of the training data. A tree without `train` is split into three,
    reproducibly by a hash of each path, in equal shares of every class. With `train` and no `test`, the command `test`
    says so and uses validation. Classes are the folders' names, in alphabetical order; images are found to the bottom
    of each.

    Args:
        root: the folder.
        test_fraction: share of each class held out for testing in a tree without `train`.
        **options: those of `ImageDataModule`.
    """

    def __init__(self, root: str, test_fraction: float = 0.1, **options: Any) -> None:
        super().__init__(**options)
        if not 0 < test_fraction < 1:
            raise ConfigError(f"data.test_fraction: must lie between 0 and 1; got {test_fraction}")
        self.root = Path(os.path.expanduser(root))
        self.test_fraction = test_fraction

    @cached_property
    def class_names(self) -> list[str]:
        """The names of the class folders of the training split, of which control characters become escapes."""
        return list(map(printable, self._classes(self._folders.get("train", self.root))))

    @cached_property
    def _folders(self) -> dict[Split, Path]:
        """The split folders below the root; none when the tree is to be split."""
        if not self.root.is_dir():
            raise DataError(f"data.root: {self.root}: there is no such folder; give one with --data.root DIR")
        found: dict[Split, Path] = {}
        for split, names in _FOLDERS.items():
            for name in names:
                if split not in found and (self.root / name).is_dir():
                    found[split] = self.root / name
        if found and "train" not in found:
            others = ", ".join(folder.name for folder in found.values())
            raise DataError(f"data.root: {self.root}: has {others} but no 'train'; name the training folder so")
        return found if "train" in found else {}

    def load_splits(self) -> dict[Split, Samples]:
        """The split folders, or the one tree cut into training with validation still in it, and test."""
        if self._folders:
            return {split: self._scan(folder, split) for split, folder in self._folders.items()}
        everything = self._scan(self.root, "train")
        kept, test = stratified_split(everything.labels, everything.keys(), self.test_fraction, self.split_seed)
        return {"train": everything.take(kept, "train"), "test": everything.take(test, "test")}

    def _scan(self, folder: Path, split: Split) -> Samples:
        classes = self._classes(folder)
        names = list(map(printable, classes))
        for name in set(names) ^ set(self.class_names):
            where, known = (folder, self.class_names) if name in names else (self._folders["train"], names)
            raise DataError(f"data.root: {where} has a class '{name}' that {split} and train do not share; "
                            f"{did_you_mean(name, known)}")  # fmt: skip
        images: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            found = find_images(folder / name)
            if not found:
                raise DataError(f"data.root: {folder / name}: the class folder has no images; add some or remove it")
            images += found
            labels += [label] * len(found)
        return Samples(images, np.array(labels, np.int64), split, root=folder)

    def _classes(self, folder: Path) -> list[str]:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        if len(names) < 2:
            raise DataError(f"data.root: {folder}: needs two class folders or more with images in them; "
                            f"found {len(names)}")  # fmt: skip
        return names
