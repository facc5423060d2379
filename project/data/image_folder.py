"""Anyone's images: one folder a class."""

from __future__ import annotations

import os
import re
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from project.data.class_order import order_classes
from project.data.images import find_images, is_data_directory, is_image_name
from project.data.labelled import LabelledImages
from project.data.samples import Samples, Split, stratified_split
from project.errors import DataError, did_you_mean
from project.text import printable

_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val", "valid", "validation"),
    "test": ("test",),
}
_LIKE_SPLITS = re.compile(
    r"(train|training|val|valid|validation|dev|eval|test|testing)([\W_\d]*|[\W_]?(set|data|images))", re.I
)
_NAMED = 5  # in a line
_TABLE = "--data ImageTable --data.table labels.csv names each image's label and split"


class ImageFolder(LabelledImages):
    """A tree of class folders: `root/train/CLASS/*.jpg` with `val` and `test` beside it, or `root/CLASS/*.jpg` alone.

    A missing validation split is held out of the training data. A tree without `train` is split into three,
    reproducibly by a hash of each path, in equal shares of every class. With `train` and no `test`, the command `test`
    says so and uses validation. Images are found to the bottom of each class folder; a validation or test split may
    lack classes. A split folder without class folders has no labels: it can be predicted, and not tested. A folder that is
    named like a split and holds images itself, between others, is a class.

    Args:
        root: the folder.
        **options: those of `LabelledImages`.
    """

    def __init__(self, root: str, **options: Any) -> None:
        super().__init__(**options)
        self.root = Path(os.path.expanduser(root))

    @cached_property
    def class_names(self) -> list[str]:
        """The names of the class folders of the training split, of which control characters become escapes."""
        folder = self._folders.get("train", self.root)
        names = list(map(printable, _directories(folder)))
        if len(names) < 2:
            raise DataError(f"data.root: {folder}: needs two class folders or more with images in them; found {len(names)}; or "
                            f"{_TABLE}")  # fmt: skip
        return order_classes(names, self.class_order)

    @cached_property
    def _folders(self) -> dict[Split, Path]:
        """The split folders below the root; none when the tree is to be split."""
        if not self.root.is_dir():
            raise DataError(f"data.root: {self.root}: there is no such folder; give one with --data.root DIR")
        names = _directories(self.root)
        found: dict[Split, Path] = {}
        for split, known in _FOLDERS.items():
            if present := [name for name in known if name in names]:
                found[split] = self.root / present[0]
        others = sorted(set(names) - {folder.name for folder in found.values()})
        if "train" in found and _directories(found["train"]):
            if others:
                named = ", ".join(f"'{name}'" for name in others[:_NAMED]) + ", ..." * (len(others) > _NAMED)
                rank_zero_info(f"data: {self.root}: left out beside the splits: {named}")
            return found
        if names and all(map(_LIKE_SPLITS.fullmatch, names)):
            if "train" in found:
                raise DataError(f"data.root: {found['train']}: has no class folders, which are the labels; sort the images into "
                                f"them; or {_TABLE}")  # fmt: skip
            raise DataError(f"data.root: {self.root}: has {', '.join(names)} but no 'train'; name the training folder so; or "
                            f"{_TABLE}")  # fmt: skip
        if found:
            rank_zero_info(f"data: {self.root}: '{next(iter(found.values())).name}' is taken for a class like '{others[0]}', as "
                           f"there is no 'train' with class folders; if it is a split, {_TABLE}")  # fmt: skip
        return {}

    def load_splits(self) -> dict[Split, Samples]:
        """The split folders, or the one tree cut into training with validation still in it, and test."""
        left_out: Counter[str] = Counter()
        if self._folders:
            labelled = {split: folder for split, folder in self._folders.items() if self._has_labels(split, folder)}
            splits = {split: self._scan(folder, split, left_out) for split, folder in labelled.items()}
        else:
            everything = self._scan(self.root, "train", left_out)
            kept, test = stratified_split(everything.labels, everything.keys(), self.test_fraction, self.split_seed)
            splits = {"train": everything.take(kept, "train"), "test": everything.take(test, "test")}
        if left_out:
            endings = ", ".join(
                f"{count:,} {ending or 'without an ending'}" for ending, count in left_out.most_common()
            )
            rank_zero_info(f"data: {self.root}: left out by their endings: {endings}")
        return splits

    def _has_labels(self, split: Split, folder: Path) -> bool:
        """Whether a split folder has class folders: it may lack some, and one that no class is called is none."""
        names = set(map(printable, _directories(folder)))
        if split == "train" or len(names) > 1 or names & set(self.class_names):
            return True
        if not find_images(folder):
            raise DataError(f"data.root: {folder}: has no images; add some or remove it")
        if split == "test":
            self.unlabelled_test = str(folder)
        else:
            rank_zero_info(f"data: {folder}: has no class folders; validation is held out of the training images")
        return False

    def _scan(self, folder: Path, split: Split, left_out: Counter[str]) -> Samples:
        known = {name: label for label, name in enumerate(self.class_names)}
        images: list[Path] = []
        labels: list[int] = []
        for directory in _directories(folder):
            name, endings = printable(directory), Counter[str]()
            if name not in known:
                raise DataError(f"data.root: {folder} has a class '{name}' that the training images lack; "
                                f"{did_you_mean(name, known)}")  # fmt: skip
            found = find_images(folder / directory, endings)
            if not found and split == "train":
                only = (
                    f", only {' and '.join(ending or 'files without an ending' for ending in endings)}"
                    if endings
                    else ""
                )
                raise DataError(f"data.root: {folder / directory}: the class folder has no images{only}; add some, or remove "
                                "it from all splits")  # fmt: skip
            images += found
            labels += [known[name]] * len(found)
            left_out += endings
        if stray := sum(entry.is_file() and is_image_name(entry.name) for entry in folder.iterdir()):
            rank_zero_info(f"data: {folder}: left out outside of class folders: {stray:,} images")
        return Samples(images, np.array(labels, np.int64), split, root=folder)


def _directories(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if is_data_directory(entry.name) and entry.is_dir())
