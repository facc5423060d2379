"""Sets of labelled images in which classes, labels or readable files are missing."""

from __future__ import annotations

import shutil

import pytest

from project.data import ImageFolder
from project.errors import ConfigError, DataError


@pytest.fixture
def root(image_tree, tmp_path):
    """Twelve training and three test images of each of two classes."""
    for split, count in (("train", 12), ("test", 3)):
        image_tree(tmp_path / "set" / split, count, 8, ("ant", "bee"))
    return tmp_path / "set"


@pytest.fixture
def said(caplog):
    caplog.set_level("INFO")
    return lambda: [line for line in caplog.messages if line.startswith("data: ")]


@pytest.mark.parametrize("how", ["absent", "empty"])
def test_a_class_without_test_images_is_told_when_testing(how, root, said):
    shutil.rmtree(root / "test/bee")
    if how == "empty":
        (root / "test/bee").mkdir()
    data = ImageFolder(str(root))
    data.setup("fit")
    assert said() == []
    data.setup("test")
    assert said() == ["data: the test split has no images of 1 of 2 classes, which it cannot measure: 'bee'"]


def test_the_only_image_of_a_class_is_trained_on_and_told_to_be_missing_elsewhere(image_tree, tmp_path, said):
    root = image_tree(tmp_path / "set", 10, 8, ("ant", "bee", "rare"))
    for number in range(1, 10):
        (root / f"rare/{number:02}.png").unlink()
    data = ImageFolder(str(root))
    data.setup("fit")
    assert data.class_counts == [8, 8, 1]
    assert said() == ["data: the val split has no images of 1 of 3 classes, which it cannot measure: 'rare'"]


@pytest.mark.parametrize("sub", ["test", "test/test", "test/unknown"])
def test_test_images_without_labels_are_no_obstacle_to_training_and_refused_by_test(sub, root, said):
    shutil.rmtree(root / "test")
    (root / sub).mkdir(parents=True)
    shutil.copy(root / "train/ant/00.png", root / sub / "1.png")
    data = ImageFolder(str(root))
    data.setup("fit")
    assert {split: len(samples) for split, samples in data.splits.items()} == {"train": 22, "val": 2}
    with pytest.raises(DataError) as caught:
        data.setup("test")
    assert str(caught.value) == (
        f"data: {root / 'test'}: its images have no labels to test by; predict them with python -m project predict "
        f"--ckpt_path RUN --data.predict {root / 'test'}"
    )


def test_numbers_sorted_as_texts_are_told_when_training_alone(image_tree, tmp_path, said):
    root = image_tree(tmp_path / "set", 4, 8, ("1", "2", "10"))
    data = ImageFolder(str(root))
    assert data.class_names == ["1", "10", "2"]
    data.setup("fit")
    data.setup("test")
    hint = "data: the classes are numbers and sorted as texts, '10' before '2'; --data.class_order natural sorts them by value"
    assert said() == [hint]
    natural = ImageFolder(str(root), class_order="natural")
    natural.setup("fit")
    assert natural.class_names == ["1", "2", "10"]
    assert said() == [hint]
    assert {str(path): label for path, label in zip(natural.splits["train"].images, natural.splits["train"].labels, strict=True)} == {
        str(path): {0: 0, 1: 2, 2: 1}[label]
        for path, label in zip(data.splits["train"].images, data.splits["train"].labels, strict=True)
    }  # fmt: skip


@pytest.mark.parametrize("storage", ["resident", "stream"])
def test_class_counts_leave_out_files_that_are_skipped(storage, root, tmp_path):
    for number in (3, 7):
        path = root / f"train/bee/{number:02}.png"
        path.write_bytes(path.read_bytes()[:60])
    options = {"image_size": 8, "storage": storage, "cache_dir": str(tmp_path / "cache")}
    shutil.copytree(root / "test", root / "val")
    assert ImageFolder(str(root), on_bad_image="skip", **options).class_counts == [12, 10]


def test_a_class_of_unreadable_files_alone_is_named_before_training(root, tmp_path):
    for path in (root / "train/bee").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    data = ImageFolder(str(root), image_size=8, on_bad_image="skip", cache_dir=str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"^train split: none of the images of the class 'bee' can be read"):
        data.setup("fit")


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5])
def test_a_share_that_is_none_is_an_error(fraction, tmp_path):
    with pytest.raises(ConfigError, match=r"^data\.test_fraction: must lie between 0 and 1"):
        ImageFolder(str(tmp_path), test_fraction=fraction)
