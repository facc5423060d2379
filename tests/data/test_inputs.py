"""Files to predict on: of directories, files, patterns, and several of these."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from project.data.inputs import find_inputs
from project.errors import ConfigError, DataError


@pytest.fixture
def photos(tmp_path) -> Path:
    for name in ("a.png", "b.JPG", "notes.txt", "deep/c.png", "odd[1].png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).touch()
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("", ["a.png", "b.JPG", "deep/c.png", "odd[1].png"]),
        ("a.png", ["a.png"]),
        ("odd[1].png", ["odd[1].png"]),
        ("*.png", ["a.png", "odd[1].png"]),
        ("**/*.png", ["a.png", "deep/c.png", "odd[1].png"]),
        ("*", ["a.png", "b.JPG", "odd[1].png"]),
    ],
)
def test_inputs_are_the_images_of_a_folder_a_file_or_a_pattern(pattern, found, photos):
    assert find_inputs(str(photos / pattern)) == [photos / name for name in found]


def test_inputs_that_are_not_there_are_named(photos):
    with pytest.raises(ConfigError, match=r"data\.predict: name the images"):
        find_inputs(None)
    with pytest.raises(DataError, match=r"none\*\.png: there is no such folder, and no such image file"):
        find_inputs(str(photos / "none*.png"))
    with pytest.raises(DataError, match=r"\*\.txt: "):
        find_inputs(str(photos / "*.txt"))
    os.mkfifo(photos / "fifo.png")  # which reading refuses, and is not left out in silence
    assert find_inputs(str(photos / "fifo*.png")) == find_inputs(str(photos / "fifo.png")) == [photos / "fifo.png"]
    (photos / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: the folder holds no images"):
        find_inputs(str(photos / "empty"))


def test_find_inputs_several_names_are_joined_in_order_each_file_once(photos):
    given = [str(photos / name) for name in ("b.JPG", "*.png", "", "b.JPG")]
    assert find_inputs(given) == [photos / name for name in ("b.JPG", "a.png", "odd[1].png", "deep/c.png")]
    with pytest.raises(DataError, match=r"none\.png: there is no such"):
        find_inputs([str(photos), str(photos / "none.png")])
