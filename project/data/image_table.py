"""Labelled images in a table that anyone can write."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from project.data.class_order import order_classes
from project.data.labelled import LabelledImages
from project.data.paths import inside, present_files
from project.data.samples import Samples, Split, stratified_split
from project.data.table import SPLITS, delimiter_of, read_table, split_named
from project.errors import DataError, did_you_mean
from project.text import printable


class _Row(NamedTuple):
    """Image of one row; `label` is empty where it has none, and `split` is None where the table has no such column."""

    where: str
    path: Path
    label: str
    split: Split | None


class ImageTable(LabelledImages):
    """A CSV or TSV file with the columns `path` and `label`, in any place of its header, and `split` if you like.

    `split` is `train`, `val` or `test`; a missing validation split is held out of the training data. A table without that
    column is split into three, reproducibly by a hash of each path, in equal shares of every class. Rows without a label
    are for prediction: they may be of the test split, or of none. The text is UTF-8. Labels are texts, numbers too; one with
    a comma is quoted in a CSV, as spreadsheets do.

    Args:
        table: the file, whose extension says what delimits its fields.
        images: the folder that the paths start from; by default the table's.
        **options: those of `LabelledImages`.
    """

    def __init__(self, table: str, images: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.table = Path(os.path.expanduser(table))
        self.images = Path(os.path.expanduser(images)) if images else self.table.parent
        delimiter_of("data.table", self.table)

    @cached_property
    def class_names(self) -> list[str]:
        """The labels of the training images, of which control characters become escapes."""
        names = {row.label for row in self._rows if row.label and row.split in ("train", None)}
        if len(names) < 2:
            found = f"; found '{names.pop()}'" if names else ""
            raise DataError(f"data.table: {self.table}: needs training images of two labels or more{found}")
        return order_classes(names, self.class_order)

    @cached_property
    def _rows(self) -> list[_Row]:
        rows: dict[Path, _Row] = {}
        for where, fields in read_table("data.table", self.table, ("path", "label"), ("split",)):
            path = inside(self.images, fields["path"].strip(), f"{where}: path")
            label = printable(fields["label"].strip())
            split = split_named(fields["split"], where) if fields.get("split", "").strip() else None
            if path in rows:
                raise DataError(f"{where}: {fields['path']} is in {rows[path].where.rpartition(': ')[2]}, too; list each image "
                                "once")  # fmt: skip
            if "split" in fields and not split and label:
                raise DataError(f"{where}: has a label and no split; name train, val or test")
            if split in ("train", "val") and not label:
                raise DataError(f"{where}: {fields['path']} has no label, which {split} images need; give it one, or make it "
                                "a test image")  # fmt: skip
            rows[path] = _Row(where, path, label, split)
        return list(rows.values())

    def load_splits(self) -> dict[Split, Samples]:
        """Those of the column, or training with validation still in it, and test."""
        rows = self._rows
        found = present_files(
            [row.path for row in rows], self.images, "data.images", self._skipped if self.skip_bad else None
        )
        rows = [rows[index] for index in found]
        if unlabelled := [row for row in rows if not row.label]:
            self.unlabelled_test = os.path.commonpath([row.path.parent for row in unlabelled])
            rank_zero_info(f"data: {self.table}: {len(unlabelled):,} images without labels, for prediction alone, in "
                           f"{self.unlabelled_test}")  # fmt: skip
        labelled = [row for row in rows if row.label]
        if any(row.split for row in self._rows):
            members = {split: [row for row in labelled if row.split == split] for split in SPLITS}
            if not members["train"]:
                raise DataError(f"data.table: {self.table}: no row is of the split 'train'; without one there is no "
                                "training")  # fmt: skip
            return {split: self._samples(part, split) for split, part in members.items() if part}
        everything = self._samples(labelled, "train")
        kept, test = stratified_split(everything.labels, everything.keys(), self.test_fraction, self.split_seed)
        return {"train": everything.take(kept, "train"), "test": everything.take(test, "test")}

    def _samples(self, rows: Sequence[_Row], split: Split) -> Samples:
        known = {name: label for label, name in enumerate(self.class_names)}
        for row in rows:
            if row.label not in known:
                raise DataError(f"{row.where}: the {split} image has the label '{row.label}', which no training image has; "
                                f"{did_you_mean(row.label, known)}")  # fmt: skip
        labels = np.array([known[row.label] for row in rows], np.int64)
        return Samples([row.path for row in rows], labels, split, root=self.images)
