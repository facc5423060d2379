"""Tables of labelled images: which splits they make, and what is said of rows that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from project.data import ImageTable
from project.errors import ConfigError, DataError


@pytest.fixture
def table(tmp_path):
    """Writes a table and its images, and returns the table's path."""

    def write(
        *rows: tuple[str, ...], columns: tuple[str, ...] = ("path", "label", "split"), ending: str = "csv"
    ) -> Path:
        delimiter = "," if ending == "csv" else "\t"
        for row in rows:
            file = tmp_path / "set" / row[columns.index("path")].strip()
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(file)
        quoted = [
            [f'"{cell}"' if "," in cell and ending == "csv" else cell for cell in row] for row in (columns, *rows)
        ]
        path = tmp_path / "set" / f"labels.{ending}"
        path.write_text("".join(delimiter.join(row) + "\n" for row in quoted), encoding="utf-8-sig")
        return path

    return write


def by_split(data: ImageTable) -> dict[str, list[tuple[str, str]]]:
    return {
        split: [(path.name, data.class_names[label]) for path, label in zip(part.images, part.labels, strict=True)]
        for split, part in data.splits.items()
    }


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_the_column_says_which_split_an_image_is_of(ending, table):
    rows = [
        ("b/1.png", "dog, big", "train"),
        ("2.png", "cat", "Train"),
        ("3.png", "dog, big", "val"),
        ("a/4.png", " cat ", "test"),
    ]
    data = ImageTable(str(table(*rows, ending=ending)))
    assert data.class_names == ["cat", "dog, big"]
    assert by_split(data) == {
        "train": [("1.png", "dog, big"), ("2.png", "cat")],
        "val": [("3.png", "dog, big")],
        "test": [("4.png", "cat")],
    }


def test_without_the_column_every_class_is_split_alike_wherever_the_table_lies(table, tmp_path):
    rows = [(str(label), f"{label}/{number}.png") for label in (1, 2, 10) for number in range(20)]
    path = table(*rows, columns=("label", "path"))
    data = ImageTable(str(path), test_fraction=0.2, val_fraction=0.25, class_order="natural")
    assert data.class_names == ["1", "2", "10"]
    assert {split: [sum(label == k for label in part.labels) for k in range(3)] for split, part in data.splits.items()} == {
        "train": [12] * 3, "val": [4] * 3, "test": [4] * 3,
    }  # fmt: skip
    assert all(path.parent.name == data.class_names[k] for part in data.splits.values()
               for path, k in zip(part.images, part.labels, strict=True))  # fmt: skip
    elsewhere = tmp_path / "labels.csv"
    elsewhere.write_text(path.read_text(encoding="utf-8-sig"))
    other = ImageTable(str(elsewhere), str(path.parent), test_fraction=0.2, val_fraction=0.25, class_order="natural")
    assert by_split(other) == by_split(data)
    assert other.fingerprint() == data.fingerprint()


def test_rows_without_a_label_are_left_to_prediction(table, caplog):
    caplog.set_level("INFO")
    rows = [(f"train/{number}.png", "ab"[number % 2], "train") for number in range(8)]
    rows += [("test/1.png", "", "test"), ("test/2.png", " ", "test"), ("more/3.png", "", "")]
    path = table(*rows)
    data = ImageTable(str(path))
    data.setup("fit")
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 6, "val": 2}
    assert f"data: {path}: 3 images without labels, for prediction alone, in {path.parent}" in caplog.messages
    with pytest.raises(DataError, match=rf"its images have no labels to test by; predict them with .* {path.parent}$"):
        data.setup("test")


GOOD = [("1.png", "a", "train"), ("2.png", "b", "train"), ("3.png", "a", "train"), ("4.png", "b", "train")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("5.png", "", "train"), "line 6: 5.png has no label, which train images need"),
        (("5.png", "", "val"), "line 6: 5.png has no label, which val images need"),
        (("5.png", "a", ""), "line 6: has a label and no split; name train, val or test"),
        (("5.png", "a", "tset"), "line 6: split: there is no split 'tset'; did you mean 'test'?"),
        (("1.png", "b", "test"), "line 6: 1.png is in line 2, too; list each image once"),
        (("5.png", "c", "test"), "line 6: the test image has the label 'c', which no training image has"),
        (("../5.png", "a", "train"), "line 6: path: '../5.png' leads out of"),
    ],
)
def test_a_row_that_does_not_fit_is_named_by_its_line(row, message, table):
    path = table(*GOOD, row)
    with pytest.raises(DataError) as caught:
        _ = ImageTable(str(path)).splits
    assert str(caught.value).startswith(f"data.table: {path}: {message}")


def test_one_label_and_no_training_rows_are_errors(table):
    with pytest.raises(DataError, match="needs training images of two labels or more; found 'a'"):
        _ = ImageTable(str(table(("1.png", "a", "train"), ("2.png", "b", "test")))).splits
    with pytest.raises(DataError, match="no row is of the split 'train'"):
        _ = ImageTable(str(table(("1.png", "a", "val"), ("2.png", "b", "test")))).splits


def test_missing_files_are_an_error_or_left_out(table):
    path = table(*GOOD)
    (path.parent / "3.png").unlink()
    with pytest.raises(DataError, match=r"1 of 4 listed images are not there: .*3\.png"):
        _ = ImageTable(str(path)).splits
    data = ImageTable(str(path), on_bad_image="skip", val_fraction=0.5)
    assert sorted(name for part in by_split(data).values() for name, _ in part) == ["1.png", "2.png", "4.png"]
    assert data.skipped_images == [f"{path.parent / '3.png'}: is not there"]


def test_another_extension_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"must end with \.csv or \.tsv"):
        ImageTable(str(tmp_path / "labels.xlsx"))
