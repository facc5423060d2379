"""Annotation files name images of the image folder, and only such that are there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from project.data.captions.paths import check_files, inside
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
        (os.fsdecode(b"caf\xe9.jpg"), os.fsdecode(b"/set/images/caf\xe9.jpg")),
    ],
)
def test_a_path_in_the_folder_is_taken(relative, path):
    assert inside(FOLDER, relative) == Path(path)


@pytest.mark.parametrize(
    "relative", ["../a.jpg", "a/../../b.jpg", "..", "/etc/passwd", "//etc/passwd", "a/../..", "/set/images/a.jpg"]
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


def test_missing_files_are_counted_and_the_first_is_named(tmp_path):
    names = ["a/1.jpg", "b/2.jpg", "c/3.jpg", "a/4.jpg"]
    paths = [tmp_path / name for name in names]
    for path in paths[:2]:
        path.parent.mkdir()
        path.touch()
    check_files(paths[:2], "data.images")
    check_files([], "data.images")
    with pytest.raises(DataError) as caught:
        check_files(paths, "data.images")
    assert str(caught.value) == (
        f"data.images: 2 of 4 listed images are not there, the first of them {paths[2]}; "
        "add them, or give the folder that has them"
    )


def test_folders_and_broken_links_are_no_images(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    (tmp_path / "real").touch()
    (tmp_path / "good.jpg").symlink_to("real")
    check_files([tmp_path / "good.jpg"], "data.images")
    for name in ("folder.jpg", "broken.jpg"):
        with pytest.raises(DataError, match=rf"1 of 1 listed images .*{name}"):
            check_files([tmp_path / name], "data.images")


def test_the_folder_may_be_the_present_one(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").touch()
    monkeypatch.chdir(tmp_path)
    check_files([inside(Path(), "a.jpg")], "data.images")
    with pytest.raises(DataError, match=r"the first of them b\.jpg;"):
        check_files([inside(Path(), "b.jpg")], "data.images")
