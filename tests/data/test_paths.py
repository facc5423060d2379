"""Annotation files and tables list images of the image folder, and only such that are there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from project.data.paths import inside, present_files
from project.errors import DataError

FOLDER = Path("/set/images")


@pytest.mark.parametrize(
    ("relative", "path"),
    [
        ("a.jpg", "/set/images/a.jpg"),
        ("val2014/a b.jpg", "/set/images/val2014/a b.jpg"),
        ("./deep//a.jpg", "/set/images/deep/a.jpg"),
        ("link/../a.jpg", "/set/images/a.jpg"),
        ("..a/..b.jpg", "/set/images/..a/..b.jpg"),
        ("日本.jpg", "/set/images/日本.jpg"),
        ("/set/images/a.jpg", "/set/images/a.jpg"),
        ("/set/images/../images/deep/a.jpg", "/set/images/deep/a.jpg"),
        (os.fsdecode(b"caf\xe9.jpg"), os.fsdecode(b"/set/images/caf\xe9.jpg")),
    ],
)
def test_a_path_in_the_folder_is_taken(relative, path):
    assert inside(FOLDER, relative) == Path(path)


@pytest.mark.parametrize(
    "relative",
    [
        "../a.jpg",
        "a/../../b.jpg",
        "..",
        "/etc/passwd",
        "//etc/passwd",
        "a/../..",
        "/set/images/../a.jpg",
        "/set/images2/a.jpg",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(relative):
    with pytest.raises(DataError) as caught:
        inside(FOLDER, relative, "data.annotations: d.json: images[3].filename")
    text = str(caught.value)
    assert text.startswith(f"data.annotations: d.json: images[3].filename: '{relative}' leads out of /set/images; ")
    assert "\n" not in text


@pytest.mark.parametrize("relative", ["", ".", "a/..", "a\0.jpg", "\ud800.jpg"])
def test_what_is_no_name_is_refused(relative):
    with pytest.raises(DataError, match=r"^where: '.*' is no name of a file; give the image's path in /set/images$"):
        inside(FOLDER, relative, "where")


def test_inside_absolute_path_with_links_or_from_here_is_relative_to_the_folder(tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    assert inside(tmp_path / "link", f"{tmp_path}/disk/a.jpg") == tmp_path / "link" / "a.jpg"
    assert inside(tmp_path / "link", f"{tmp_path}/link/a.jpg") == tmp_path / "link" / "a.jpg"
    monkeypatch.chdir(tmp_path)
    assert inside(Path("disk"), f"{tmp_path}/disk/a.jpg") == Path("disk/a.jpg")
    with pytest.raises(DataError, match="is no name of a file"):
        inside(Path("disk"), f"{tmp_path}/disk")


def files(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [folder / name for name in names]


def test_present_files_missing_ones_are_counted_and_the_first_are_named(tmp_path):
    there = files(tmp_path, "a/1.jpg", "b/2.jpg")
    missing = [tmp_path / name for name in ("c/3.jpg", "a/4.jpg", "5.jpg", "6.jpg")]
    assert present_files(there, tmp_path, "data.images") == [0, 1]
    assert present_files([], tmp_path, "data.images") == []
    with pytest.raises(DataError) as caught:
        present_files([*there, *missing, missing[0]], tmp_path, "data.images")
    assert str(caught.value) == (
        f"data.images: 5 of 7 listed images are not there: {missing[0]}, {missing[1]}, {missing[2]} and 1 more; "
        "add them, or give the directory that has them, or leave out those of training with --data.on_bad_image skip"
    )


def test_present_files_with_a_list_leaves_missing_ones_out(tmp_path, capsys):
    there = files(tmp_path, "a/1.jpg", "b/2.jpg")
    skipped: set[str] = set()
    assert present_files([there[0], tmp_path / "no.jpg", there[1]], tmp_path, "data.images", skipped) == [0, 2]
    assert skipped == {f"{tmp_path}/no.jpg: is not there"}
    with pytest.raises(
        DataError, match=r"1 of 1 listed images .*/no\.jpg; add them, or give the directory that has them$"
    ):
        present_files([tmp_path / "no.jpg"], tmp_path, "data.images", skipped)


@pytest.mark.parametrize(
    ("listed", "there"),
    [
        ("a/1.JPG", "a/1.jpg"),
        ("A/1.jpg", "a/1.jpg"),
        (r"a\1.jpg", "a/1.jpg"),
        (" a/1.jpg ", "a/1.jpg"),
        ('"a/1.jpg"', "a/1.jpg"),
        ("caf\u00e9.jpg", "cafe\u0301.jpg"),
        ("images/a/1.jpg", "a/1.jpg"),
        (r"C:\photos\a\1.jpg", "a/1.jpg"),
    ],
)
def test_present_files_spelt_otherwise_says_what_is_there(listed, there, tmp_path):
    files(tmp_path, there, "other.jpg")
    with pytest.raises(DataError) as caught:
        present_files([inside(tmp_path, listed)], tmp_path, "data.images")
    assert f"{listed} (there is {there}); list files by the names that they have" in str(caught.value)


def test_present_files_never_looks_outside_of_the_folder(tmp_path):
    files(tmp_path, "secret.jpg", "images/a.jpg")
    with pytest.raises(DataError) as caught:
        present_files([inside(tmp_path / "images", r"..\SECRET.jpg")], tmp_path / "images", "data.images")
    assert "there is " not in str(caught.value)


def test_folders_and_broken_links_are_no_images(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "real").touch()
    (tmp_path / "good.jpg").symlink_to("real")
    assert present_files([tmp_path / "good.jpg"], tmp_path, "data.images") == [0]
    for name in ("folder.jpg", "broken.jpg", "loop.jpg"):
        with pytest.raises(DataError, match=rf"1 of 1 listed images .*{name}"):
            present_files([tmp_path / name], tmp_path, "data.images")


def test_the_folder_may_be_the_present_one(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").touch()
    monkeypatch.chdir(tmp_path)
    assert present_files([inside(Path(), "a.jpg")], Path(), "data.images") == [0]
    with pytest.raises(DataError, match=r"not there: b\.jpg;"):
        present_files([inside(Path(), "b.jpg")], Path(), "data.images")
