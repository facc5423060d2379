"""Tables give every row that a user wrote, with its line, and one line for each mistake in them."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

import pytest

from project.data.table import delimiter_of, read_table
from project.errors import ConfigError, DataError


def rows_of(path: Path, content: str | bytes, *needed: str, optional: tuple[str, ...] = ()) -> list[tuple[str, dict]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_table("data.table", path, needed or ("path", "caption"), optional))


def test_read_table_tsv_with_quotation_marks_keeps_every_row(tmp_path):
    said = ["a dog", '"Stop sign beside a road', "a cat", 'she said "hi"', 'a sign that reads hello"', '"', '"a ball"']
    content = "path\tcaption\n" + "".join(f"{i}.png\t{text}\n" for i, text in enumerate(said))
    found = rows_of(tmp_path / "t.tsv", content)
    assert [row["caption"] for _, row in found] == said
    assert [where.rpartition(": ")[2] for where, _ in found] == [f"line {line}" for line in range(2, 9)]


def test_read_table_csv_with_an_open_quotation_mark_names_both_lines(tmp_path):
    said = ["a dog", '"Stop sign beside a road', "a cat", "a man", 'a sign that reads hello"', "a ball"]
    content = "path,caption\n" + "".join(f"{i}.png,{text}\n" for i, text in enumerate(said))
    with pytest.raises(
        DataError, match=r": lines 3 to 6: are one field, since a quotation mark begins it in line 3 and "
    ):
        rows_of(tmp_path / "t.csv", content)
    swapped = "caption,path\n" + "".join(f"{text},{i}.png\n" for i, text in enumerate(['"Stop', "a", '"b"']))
    with pytest.raises(DataError, match=r": lines 2 to 4: "):
        rows_of(tmp_path / "t.csv", swapped)
    never = 'path,caption\n0.png,x\n1.png,"y\n2.png,z\n'
    with pytest.raises(DataError, match=r": lines 3 to 4: unexpected end of data; "):
        rows_of(tmp_path / "t.csv", never)


def test_read_table_csv_with_an_open_mark_behind_a_field_of_two_lines_names_the_lines_of_the_field(tmp_path):
    content = 'path,note,caption\n0.png,"two\nlines","open\n1.png,n,x\n2.png,n,closed"\n'
    with pytest.raises(DataError, match=r": lines 3 to 5: are one field"):
        rows_of(tmp_path / "t.csv", content)


def test_read_table_csv_quoted_fields_hold_a_comma_or_a_line_break(tmp_path):
    content = 'path,caption\n0.png,"one, two"\r\n1.png,"one\ntwo"\n2.png,"say ""hi"""\n'
    found = rows_of(tmp_path / "t.csv", content)
    assert [row["caption"] for _, row in found] == ["one, two", "one\ntwo", 'say "hi"']
    assert [where.rpartition(" ")[2] for where, _ in found] == ["2", "3", "5"]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_read_table_gives_what_was_written_whatever_is_in_it(name, tmp_path):
    generator = random.Random(0)
    delimiter = delimiter_of("x", Path(name))
    marks = ['"', "'", " ", "a", "é", "犬", "\u2028", "\x85", ";", "\\", "," if name == "t.tsv" else "\t"]
    for _ in range(200):
        texts = ["".join(generator.choices(marks, k=generator.randint(1, 6))) + "x" for _ in range(6)]
        if name == "t.csv":
            table = io.StringIO()
            csv.writer(table).writerows([["path", "caption"], *((f"{i}.png", text) for i, text in enumerate(texts))])
            content = table.getvalue()
        else:
            content = "\n".join(["path\tcaption", *(f"{i}.png{delimiter}{text}" for i, text in enumerate(texts))])
        assert [row["caption"] for _, row in rows_of(tmp_path / name, content)] == texts


@pytest.mark.parametrize("blank", ["", "   ", ",", " , ,", ",,,,"])
def test_read_table_blank_rows_are_left_out_and_lines_stay_right(blank, tmp_path):
    found = rows_of(
        tmp_path / "t.csv", f"{blank}\npath,caption\n{blank}\n0.png,x\n{blank}\n{blank}\n1.png,y\n{blank}\n"
    )
    assert [(where.rpartition(": ")[2], row["path"]) for where, row in found] == [
        ("line 4", "0.png"),
        ("line 7", "1.png"),
    ]


def test_read_table_columns_keep_their_names_and_known_ones_any_case(tmp_path):
    content = "\ufeff Split ,PATH,Skin Tone,,caption\ntrain,0.png,dark,9,x\n"
    ((_, row),) = rows_of(tmp_path / "t.csv", content, "path", "caption", optional=("split",))
    assert row == {"split": "train", "path": "0.png", "Skin Tone": "dark", "caption": "x"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", r"its first line names the columns none, and 'path' must be one of them$"),
        ("t.csv", "path;caption\n0;x\n", r"'path;caption', and 'path' must be one of them; fields are delimited by ',', and not by ';'$"),
        ("t.tsv", "path,caption\n0,x\n", r"one of them; fields are delimited by '\\t', and not by ','$"),
        ("t.tsv", '"path"\t"caption"\n0\tx\n', r"; quotation marks are text in a \.tsv: leave them out, or save the table as \.csv$"),
        ("t.csv", "path,caption,note,note\n0,x,a,b\n", r"two columns 'note'; rename one$"),
        ("t.csv", "path,caption\n , \n", r"has a header and no rows; add some$"),
        ("t.csv", "path,caption\n0.png,x\n1.png\n", r"line 3: has 1 fields, and the header 2; quote fields "),
        ("t.tsv", "path\tcaption\n0.png\tx\ty\n", r"line 2: has 3 fields, and the header 2; a field of a \.tsv holds neither"),
        ("t.csv", b"path,caption\n0.png,caf\xe9\n", r"is not UTF-8 \(.*\); save it as UTF-8$"),
        ("t.csv", "path,caption\n0.png," + "x" * 200_000, r"line 2: field larger than field limit"),
    ],
)  # fmt: skip
def test_read_table_mistake_is_named_with_its_line(name, content, message, tmp_path):
    with pytest.raises(DataError, match=message) as caught:
        rows_of(tmp_path / name, content)
    assert str(caught.value).startswith(f"data.table: {tmp_path / name}: ")
    assert "\n" not in str(caught.value)


def test_read_table_absent_file_or_other_extension_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: there is no such file$"):
        list(read_table("data.table", tmp_path / "none.csv", ()))
    with pytest.raises(ConfigError, match=r"t\.txt: its name must end with \.csv or \.tsv, "):
        rows_of(tmp_path / "t.txt", "path,caption\n0,x\n")
