"""A damaged file is named and renamed, with every byte that was in it, and a whole one is read as it is."""

from __future__ import annotations

import json
import os

import pytest

from project.runs.records import DamagedFileError, free_path, read_record, take_record

BYTES = {
    "not UTF-8": b'{"a": "\xff"}',
    "NUL bytes": b'{"a": 1}\0',
    "larger than 0 MiB": b'{"a": 1}' + b" " * 100,
    "other content": b"[]",
    "no JSON": b"{",
}


def parse(text: str) -> int:
    try:
        return json.loads(text)["a"]
    except json.JSONDecodeError:
        raise ValueError("no\nJSON") from None


@pytest.mark.parametrize("reason", BYTES)
def test_read_record_damaged_file_raises_the_reason_and_leaves_it(tmp_path, reason):
    (tmp_path / "x").write_bytes(BYTES[reason])
    with pytest.raises(DamagedFileError, match=f"^{reason}$"):
        read_record(tmp_path / "x", parse, largest=100)
    assert (tmp_path / "x").read_bytes() == BYTES[reason]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["fifo", "directory"])
def test_read_record_of_no_file_does_not_wait(tmp_path, make):
    make(tmp_path / "x")
    with pytest.raises(DamagedFileError, match=r"^not a regular file$"):
        read_record(tmp_path / "x", parse)


def test_read_record_absent_file_is_none_and_whole_file_its_content(tmp_path):
    assert read_record(tmp_path / "x", parse) is None
    (tmp_path / "x").write_text('{"a": 3, "ü": "×"}', "utf-8")
    assert read_record(tmp_path / "x", parse) == 3


def test_take_record_sets_each_damaged_file_aside_under_a_name_of_its_own(tmp_path, capsys):
    path = tmp_path / "x.json"
    for content in (b"{", b"\xff"):
        path.write_bytes(content)
        assert take_record(path, parse) is None
    assert (tmp_path / "x.json.damaged_1").read_bytes() == b"{"
    assert (tmp_path / "x.json.damaged_2").read_bytes() == b"\xff"
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: damaged (no JSON); set aside as x.json.damaged_1",
        f"{path}: damaged (not UTF-8); set aside as x.json.damaged_2",
    ]
    path.write_bytes(b'{"a": 3}')
    assert take_record(path, parse) == 3


def test_free_path_counts_links_to_nowhere(tmp_path):
    (tmp_path / "c.0").touch()
    (tmp_path / "c.1").symlink_to(tmp_path / "nowhere")
    assert free_path(tmp_path, "c.{}") == tmp_path / "c.2"


def test_read_record_link_is_damaged_and_what_it_names_stays(tmp_path):
    """A stranger's run could have any file of the user copied into it."""
    (tmp_path / "secret.txt").write_text("3")
    (tmp_path / "record").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(DamagedFileError, match="a link"):
        read_record(tmp_path / "record", parse)
    assert take_record(tmp_path / "record", parse) is None
    assert (tmp_path / "secret.txt").read_text() == "3"
    assert (tmp_path / "record.damaged_1").is_symlink()
