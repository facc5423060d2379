"""Captions in a table that anyone can write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from project.data.captions.base import CaptionDataModule
from project.data.captions.samples import CaptionedSamples
from project.data.paths import inside
from project.data.samples import Split, stratified_split
from project.data.table import SPLITS, delimiter_of, read_table, split_named
from project.errors import ConfigError, DataError


class CaptionTable(CaptionDataModule):
    """A CSV or TSV file with the columns `path` and `caption`, in any place of its header, and `split` if you like.

    A path in several rows has several captions. `split` is `train`, `val` or `test`; a missing validation split is
    held out of the training data. A table without that column is split into three, reproducibly by a hash of each
    path. The text is UTF-8. In a CSV, fields with commas, quotation marks or line breaks are quoted as spreadsheets do;
    in a TSV quotation marks are text. Blank rows are left out.

    Args:
        table: the file, whose extension says what delimits its fields.
        images: the folder that the paths start from; by default the table's.
        test_fraction: share of the images held out for testing where the table does not say which.
        **options: those of `CaptionDataModule`.
    """

    def __init__(self, table: str, images: str | None = None, test_fraction: float = 0.1, **options: Any) -> None:
        super().__init__(**options)
        if not 0 < test_fraction < 1:
            raise ConfigError(f"data.test_fraction: must lie between 0 and 1; got {test_fraction}")
        self.table = Path(os.path.expanduser(table))
        self.images = Path(os.path.expanduser(images)) if images else self.table.parent
        self.test_fraction = test_fraction
        delimiter_of("data.table", self.table)

    def load_splits(self) -> dict[Split, CaptionedSamples]:
        """Those of the column, or training with validation still in it, and test."""
        captions: dict[Path, list[str]] = {}
        splits: dict[Path, tuple[Split, str]] = {}
        for where, row in read_table("data.table", self.table, ("path", "caption"), ("split",)):
            path = inside(self.images, row["path"], f"{where}: path")
            captions.setdefault(path, []).append(row["caption"])
            if "split" in row:
                split = split_named(row["split"], where)
                first, there = splits.setdefault(path, (split, where))
                if first != split:
                    raise DataError(f"{where}: {row['path']} is in {split} here and in {first} in "
                                    f"{there.rpartition(': ')[2]}; give all its rows one split")  # fmt: skip
        column = [split for split, _ in splits.values()]
        present = self._present(list(captions), self.images, "data.images", column or ["train"] * len(captions))
        everything = CaptionedSamples.of(list(captions), list(captions.values()), "train", root=self.images)
        everything = everything.take(present, "train")
        if column:
            return self._by_column(everything, [column[index] for index in present])
        kept, test = stratified_split(everything.labels, everything.keys(), self.test_fraction, self.split_seed)
        return {"train": everything.take(kept, "train"), "test": everything.take(test, "test")}

    def _by_column(self, everything: CaptionedSamples, column: list[Split]) -> dict[Split, CaptionedSamples]:
        if "train" not in column:
            raise DataError(f"data.table: {self.table}: no row is of the split 'train'; without one there is no "
                            "training")  # fmt: skip
        members = {split: np.flatnonzero(np.array(column) == split) for split in SPLITS if split in column}
        return {split: everything.take(indices, split) for split, indices in members.items()}
