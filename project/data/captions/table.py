"""Captions in a table that anyone can write."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np

from project.data.captions.base import CaptionDataModule
from project.data.captions.paths import check_files, inside
from project.data.captions.samples import CaptionedSamples
from project.data.samples import Split, stratified_split
from project.errors import ConfigError, DataError, did_you_mean
from project.files import open_regular

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_SPLITS: tuple[Split, ...] = ("train", "val", "test")


class CaptionTable(CaptionDataModule):
    """A CSV or TSV file with the columns `path` and `caption`, in any place of its header, and `split` if you like.

    A path in several rows has several captions. `split` is `train`, `val` or `test`; a missing validation split is
    held out of the training data. A table without that column is split into three, reproducibly by a hash of each
    path. The text is UTF-8; fields with delimiters, quotes or line breaks are quoted as spreadsheets do.

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
        if self.table.suffix.lower() not in _DELIMITERS:
            raise ConfigError(f"data.table: {self.table}: its name must end with .csv or .tsv, which says what "
                              "delimits its fields")  # fmt: skip

    def load_splits(self) -> dict[Split, CaptionedSamples]:
        """Those of the column, or training with validation still in it, and test."""
        captions: dict[Path, list[str]] = {}
        splits: dict[Path, tuple[Split, str]] = {}
        for where, row in self._rows_of_table():
            path = inside(self.images, row["path"], f"{where}: path")
            captions.setdefault(path, []).append(row["caption"])
            if "split" in row:
                split = _split(row["split"], where)
                first, there = splits.setdefault(path, (split, where))
                if first != split:
                    raise DataError(f"{where}: {row['path']} is in {split} here and in {first} in "
                                    f"{there.rpartition(': ')[2]}; give all its rows one split")  # fmt: skip
        if not captions:
            raise DataError(f"data.table: {self.table}: has a header and no rows; add one for each caption")
        check_files(list(captions), "data.images")
        everything = CaptionedSamples.of(list(captions), list(captions.values()), "train", root=self.images)
        if splits:
            return self._by_column(everything, [split for split, _ in splits.values()])
        kept, test = stratified_split(everything.labels, everything.keys(), self.test_fraction, self.split_seed)
        return {"train": everything.take(kept, "train"), "test": everything.take(test, "test")}

    def _by_column(self, everything: CaptionedSamples, column: list[Split]) -> dict[Split, CaptionedSamples]:
        if "train" not in column:
            raise DataError(f"data.table: {self.table}: no row is of the split 'train'; without one there is no "
                            "training")  # fmt: skip
        members = {split: np.flatnonzero(np.array(column) == split) for split in _SPLITS if split in column}
        return {split: everything.take(indices, split) for split, indices in members.items()}

    def _rows_of_table(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Each row by the names of its columns, and where it is."""
        where = f"data.table: {self.table}"
        try:
            with TextIOWrapper(open_regular(self.table), encoding="utf-8-sig", newline="") as file:
                delimiter = _DELIMITERS[self.table.suffix.lower()]
                rows = csv.reader(file, delimiter=delimiter, strict=True)
                header = [name.strip().lower() for name in next(rows, [])]
                _check_header(header, where)
                columns = {name: header.index(name) for name in ("path", "caption", "split") if name in header}
                for row in rows:
                    if not row:  # an empty line
                        continue
                    line = f"{where}: line {rows.line_num}"
                    if len(row) != len(header):
                        mend = "quote fields that have a delimiter or a line break in them"
                        raise DataError(f"{line}: has {len(row)} fields, and the header {len(header)}; {mend}")
                    yield line, {name: row[place] for name, place in columns.items()}
        except FileNotFoundError:
            raise DataError(f"{where}: there is no such file") from None
        except OSError as error:
            raise DataError(f"{where}: cannot be read ({error.strerror})") from None
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: is not UTF-8 ({error.reason}); save it as UTF-8") from None
        except csv.Error as error:
            raise DataError(
                f"{where}: line {rows.line_num}: {error}; quotes inside a quoted field are doubled"
            ) from None


def _check_header(header: list[str], where: str) -> None:
    for name in ("path", "caption"):
        if name not in header:
            found = ", ".join(map(repr, header[:6])) or "none"
            raise DataError(f"{where}: its first line names the columns {found}, and '{name}' must be one of them")
    for name in header:
        if name in ("path", "caption", "split") and header.count(name) > 1:
            raise DataError(f"{where}: its first line has two columns '{name}'; rename one")


def _split(name: str, where: str) -> Split:
    for split in _SPLITS:
        if name.strip().lower() == split:
            return split
    raise DataError(f"{where}: split: there is no split '{name}'; {did_you_mean(name, _SPLITS)}")
