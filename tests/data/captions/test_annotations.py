"""Every mistake in a JSON file has its place in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from project.data.captions.annotations import Entry, check_distinct, read_json
from project.errors import DataError


@pytest.fixture
def read(tmp_path):
    """Reads a file of that content."""

    def from_content(content: object) -> Entry:
        path = tmp_path / "captions"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return read_json("data.annotations", str(path))

    return from_content


def test_fields_are_read_with_their_kinds(read):
    file = read({"images": [{"id": 7, "name": "x", "words": ["a", "b"]}], "none": None})
    (entry,) = file.entries("images", "needed")
    assert entry.get("id", int, str, why="") == 7
    assert entry.get("name", str, why="") == "x"
    assert entry.texts("words") == ["a", "b"]
    assert "none" not in file
    assert "images" in file
    assert entry.place("id").endswith("captions: images[0].id")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON: Expecting value"),
        (b"\xff\xfe\x00", "not valid JSON: "),
        (b"id,caption", "not valid JSON: "),
        (b"[" * 100_000, "more than 100 levels deep; give"),
        ([1, 2], r"must be an object; it is a list \(\[1, 2\]\)$"),
        ({}, r"images: missing; why so$"),
        ({"images": None}, r"images: missing; why so$"),
        ({"images": {}}, r"images: must be a list; it is an object \(\{\}\)$"),
        ({"images": [{"id": 1}, 5]}, r"images\[1\]: must be an object; it is a whole number \(5\)$"),
        ({"images": [{}]}, r"images\[0\]\.id: missing; why not$"),
        ({"images": [{"id": True}]}, r"images\[0\]\.id: must be a whole number or text; it is true or false \(true\)$"),
        ({"images": [{"id": 1.5}]}, r"images\[0\]\.id: must be a whole number or text; it is a number \(1\.5\)$"),
        ({"images": [{"id": [0] * 99}]}, r"images\[0\]\.id: must be a whole number or text; it is a list$"),
        ({"images": [{"id": 1, "words": "a b"}]}, r"images\[0\]\.words: must be a list; it is text \(\"a b\"\)$"),
        (
            {"images": [{"id": 1, "words": ["a", 2]}]},
            r"images\[0\]\.words\[1\]: must be text; it is a whole number \(2\)$",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(content, message, read):
    def read_all() -> None:
        for entry in read(content).entries("images", "why so"):
            entry.get("id", int, str, why="why not")
            if "words" in entry:
                entry.texts("words")

    with pytest.raises(DataError, match=message) as caught:
        read_all()
    assert str(caught.value).startswith("data.annotations: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"^data\.annotations: .*/none\.json: there is no such file$"):
        read_json("data.annotations", str(tmp_path / "none.json"))
    with pytest.raises(DataError, match=r"^data\.annotations: .*: cannot be read \(not a regular file\)$"):
        read_json("data.annotations", str(tmp_path))


def test_a_file_that_is_listed_twice_is_named_with_both_places():
    paths = [Path("a.jpg"), Path("b.jpg"), Path("a.jpg")]
    wheres = [f"data.annotations: d.json: images[{i}].filename" for i in range(3)]
    check_distinct(paths[:2], wheres[:2])
    with pytest.raises(DataError) as caught:
        check_distinct(paths, wheres)
    assert str(caught.value) == (
        "data.annotations: d.json: images[2].filename: a.jpg is images[0].filename too; list each image once"
    )
