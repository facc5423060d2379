"""Tables of paths and captions, and one line for each mistake in them."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from project.data import CaptionTable
from project.errors import ConfigError, DataError


@pytest.fixture
def make(tmp_path) -> Callable[..., CaptionTable]:
    """The datamodule of a table of that content; `0.png` to `39.png` lie beside it, and in `deep/`."""

    def build(content: str | bytes, name: str = "captions.csv", **options) -> CaptionTable:
        for folder in (tmp_path, tmp_path / "deep"):
            folder.mkdir(exist_ok=True)
            for i in range(40):
                (folder / f"{i}.png").touch()
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return CaptionTable(str(tmp_path / name), **options)

    return build


def rows(count: int) -> str:
    return "path,caption\n" + "".join(f"{i}.png,image {i}\n" for i in range(count))


def content(data: CaptionTable) -> dict[str, list[tuple[str, list[str]]]]:
    return {
        split: [(path.name, texts) for path, texts in zip(part.images, part.captions, strict=True)]
        for split, part in data.splits.items()
    }


SPLITS = 'path,caption,split\n0.png,A dog.,train\n1.png,"A cat, ""big""",train\n0.png,Dogs,train\n2.png,A bird,val\n3.png,A bus,test\n'
EXPECTED = {
    "train": [("0.png", ["A dog.", "Dogs"]), ("1.png", ['A cat, "big"'])],
    "val": [("2.png", ["A bird"])],
    "test": [("3.png", ["A bus"])],
}


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_columns_are_found_by_name_and_rows_of_one_path_joined(bom, make):
    assert content(make(bom + SPLITS.encode())) == EXPECTED
    lines = [[row[2], "9", row[1], row[0]] for row in csv.reader(SPLITS.splitlines())]
    other = "\r\n".join("\t".join(line) for line in lines)
    other = other.replace("split\t9\tcaption\tpath", " Split\tid\tCaption\tPATH ")
    assert content(make(bom + other.encode(), "captions.TSV")) == EXPECTED


def test_a_table_without_splits_is_split_by_its_paths(make):
    data = make(rows(40))
    sizes = {split: len(part) for split, part in data.splits.items()}
    assert sizes == {"train": 32, "val": 4, "test": 4}
    together = sorted((name, texts[0]) for part in content(data).values() for name, texts in part)
    assert together == sorted((f"{i}.png", f"image {i}") for i in range(40))
    lines = rows(40).splitlines()
    turned = make("\n".join([lines[0], *reversed(lines[1:])]))
    assert {s: sorted(part) for s, part in content(turned).items()} == {s: sorted(p) for s, p in content(data).items()}
    assert len(make(rows(40), test_fraction=0.5).splits["test"]) == 20


def test_a_table_with_train_alone_has_validation_held_out_and_no_test(make):
    data = make("path,caption,split\n" + "".join(f"{i}.png,image {i},train\n" for i in range(20)))
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 18, "val": 2}


def test_paths_start_from_the_folder_that_is_given(make, tmp_path):
    data = make(rows(5), images=str(tmp_path / "deep"), val_fraction=0.3)
    assert {path.parent for part in data.splits.values() for path in part.images} == {tmp_path / "deep"}
    assert list(make("path,caption,split\ndeep/0.png,x,train\n1.png,y,train\n").splits["train"].images)


def test_quoted_fields_have_lines_and_delimiters(make):
    data = make('path,caption,split\n0.png,"one\ntwo",train\n\n1.png,"ümlaut, 犬",train\n2.png,y,val\n')
    assert content(data)["train"] == [("0.png", ["one\ntwo"]), ("1.png", ["ümlaut, 犬"])]


def test_a_tsv_caption_that_begins_with_a_quotation_mark_loses_no_row(make):
    said = ["a dog", '"Stop sign beside a road', "a cat", "a man", 'a sign that reads hello"', "a ball", "a tree"]
    rows = "".join(f"{i}.png\t{text}\ttrain\n" for i, text in enumerate(said))
    data = make(f"path\tcaption\tsplit\n{rows}8.png\tb\tval\n", "captions.tsv")
    assert content(data)["train"] == [(f"{i}.png", [text]) for i, text in enumerate(said)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"its first line names the columns none, and 'path' must be one of them$"),
        ("file,caption\n0.png,x\n", r"its first line names the columns 'file', 'caption', and 'path' must be one of them$"),
        ("path;caption\n0.png;x\n", r"names the columns 'path;caption', and 'path' must be one of them; fields are delimited by ',', and not by ';'$"),
        ("path,text\n0.png,x\n", r"names the columns 'path', 'text', and 'caption' must be one of them$"),
        ("path,caption,path\n", r"its first line has two columns 'path'; rename one$"),
        ("path,caption\n", r"has a header and no rows; add some$"),
        ("path,caption\n0.png,x\n1.png\n", r"line 3: has 1 fields, and the header 2; quote fields "),
        ("path,caption\n0.png,x, y\n", r"line 2: has 3 fields, and the header 2; quote fields "),
        ('path,caption\n0.png,"x\n', r"line 2: unexpected end of data; quotes inside a quoted field are doubled$"),
        ('path,caption\n0.png,"x" y\n', r"line 2: .*; quotes inside a quoted field are doubled$"),
        (b"path,caption\n0.png,caf\xe9\n", r"is not UTF-8 \(.*\); save it as UTF-8$"),
        ("path,caption\n../0.png,x\n", r"line 2: path: '\.\./0\.png' leads out of "),
        ("path,caption\n,x\n", r"line 2: path: '' is no name of a file; "),
        ("path,caption,split\n0.png,x,tran\n", r"line 2: split: there is no split 'tran'; did you mean 'train'\?$"),
        ("path,caption,split\n0.png,x,test\n", r"no row is of the split 'train'; "),
        ("path,caption,split\n0.png,x,train\n1.png,y,val\n0.png,z,val\n",
         r"line 4: 0\.png is in val here and in train in line 2; give all its rows one split$"),
        ("path,caption\n0.png," + "x" * 200_000, r"line 2: field larger than field limit"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(text, message, make, tmp_path):
    with pytest.raises(DataError, match=message) as caught:
        _ = make(text).splits
    assert str(caught.value).startswith(f"data.table: {tmp_path / 'captions.csv'}: ")
    assert "\n" not in str(caught.value)


def test_an_unsegmented_table_has_words_of_one_character(make, caplog):
    said = ["左边一个红色的十字。", "右边一个蓝色的圆盘。", "上边一个绿色的三角。"]
    content = (
        "path,caption,split\n" + "".join(f"{i}.png,{said[i % 3]},train\n" for i in range(6)) + "7.png,红的圆,val\n"
    )
    data = make(content)
    assert data.tokenizer == "unicode"
    assert set(data.vocabulary) == {word for text in said for word in text if word != "。"}
    assert data.references("val") == [["红 的 圆"]]
    assert "--data.tokenizer unicode" in caplog.text
    with pytest.raises(DataError, match=r"^data\.tokenizer: ptb cuts at spaces, and these captions have none"):
        _ = make(content, tokenizer="ptb").splits


def test_missing_images_are_counted(make):
    with pytest.raises(
        DataError, match=r"^data\.images: 2 of 3 listed images are not there: .*/99\.png, .*/98\.png; add them, "
    ):
        _ = make("path,caption\n0.png,x\n99.png,y\n98.png,z\n99.png,x\n").splits


def test_missing_images_are_left_out_of_training_and_of_nothing_else(make):
    data = make(SPLITS + "98.png,x,train\n99.png,y,train\n", on_bad_image="skip")
    assert content(data) == EXPECTED
    assert [line.rpartition("/")[2] for line in data.skipped_images] == ["98.png: is not there", "99.png: is not there"]
    with pytest.raises(DataError, match=r"^data\.images: 1 of 3 listed images are not there: .*99\.png; "):
        _ = make(SPLITS + "98.png,x,train\n99.png,y,val\n", on_bad_image="skip").splits
    with pytest.raises(
        DataError, match=r"^data\.images: none of the listed images of the train split is there; add them"
    ):
        _ = make(SPLITS.replace("0.png", "98.png").replace("1.png", "99.png"), on_bad_image="skip").splits
    unsplit = make(rows(40) + "99.png,x\n", on_bad_image="skip")
    assert content(unsplit) == content(make(rows(40)))


def test_absolute_paths_in_the_folder_are_those_relative_to_it(make, tmp_path):
    data = make(SPLITS.replace("0.png", f"{tmp_path}/0.png").replace("3.png", f"{tmp_path}/deep/../3.png"))
    assert content(data) == EXPECTED


def test_a_caption_of_nothing_is_named_with_its_image(make):
    with pytest.raises(
        DataError, match=r"^test split: .*3\.png: every image needs a caption, and this one has only '-', "
    ):
        _ = make(SPLITS.replace("A bus", "-")).splits


def test_files_and_options_that_cannot_be_are_named(make, tmp_path):
    with pytest.raises(DataError, match=r"^data\.table: .*none\.csv: there is no such file$"):
        _ = CaptionTable(str(tmp_path / "none.csv")).splits
    Path(tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "fifo.csv")
    for name in ("folder.csv", "fifo.csv"):
        with pytest.raises(DataError, match=rf"^data\.table: .*{name}: cannot be read \(not a regular file\)$"):
            _ = CaptionTable(str(tmp_path / name)).splits
    with pytest.raises(ConfigError, match=r"^data\.table: .*captions\.txt: its name must end with \.csv or \.tsv, "):
        make(rows(3), "captions.txt")
    with pytest.raises(ConfigError, match=r"^data\.test_fraction: must lie between 0 and 1; got 1$"):
        make(rows(3), test_fraction=1)
