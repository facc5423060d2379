"""Trees of class folders: which splits they make, and what is said of those that make none."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest

from project.data import ImageFolder
from project.data.samples import Samples
from project.errors import ConfigError, DataError


@pytest.fixture
def tree(tmp_path, image_tree):
    """Makes root/SPLIT/CLASS/NN.png and returns the root."""

    def build(**splits: int) -> Path:
        for split, count in splits.items():
            image_tree(tmp_path / "root" / split, count, 8, ("ant", "bee"))
        return tmp_path / "root"

    return build


def by_split(data: ImageFolder) -> dict[str, list[str]]:
    return {split: [str(p.relative_to(data.root)) for p in part.images] for split, part in data.splits.items()}


def labels_are_the_folders(data: ImageFolder, samples: Samples) -> bool:
    return all(data.class_names[k] in p.parts for k, p in zip(samples.labels, samples.images, strict=True))


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_split_folders_are_taken_as_they_are(val, tree):
    data = ImageFolder(str(tree(train=5, test=2, **{val: 3})))
    expected = {"train": ("train", 5), "val": (val, 3), "test": ("test", 2)}
    assert by_split(data) == {
        split: [f"{folder}/{name}/{i:02}.png" for name in ("ant", "bee") for i in range(count)]
        for split, (folder, count) in expected.items()
    }
    assert data.class_names == ["ant", "bee"]
    assert all(labels_are_the_folders(data, samples) for samples in data.splits.values())
    assert all(samples.split == split for split, samples in data.splits.items())


def test_a_missing_validation_split_is_held_out_of_training_alone(tree):
    data = ImageFolder(str(tree(train=20, test=4)), val_fraction=0.2)
    splits = by_split(data)
    assert sorted(splits["train"] + splits["val"]) == [
        f"train/{c}/{i:02}.png" for c in ("ant", "bee") for i in range(20)
    ]
    assert np.bincount(data.splits["val"].labels).tolist() == [4, 4]
    assert labels_are_the_folders(data, data.splits["val"])
    assert splits["test"] == [f"test/{c}/{i:02}.png" for c in ("ant", "bee") for i in range(4)]


def test_one_tree_is_cut_into_three_alike_wherever_it_lies(image_tree, tmp_path):
    root = image_tree(tmp_path / "here", 20, 8)
    data = ImageFolder(str(root), test_fraction=0.25, val_fraction=0.2)
    splits = by_split(data)
    assert sorted(itertools.chain(*splits.values())) == sorted(f"{c}/{i:02}.png" for c in "abc" for i in range(20))
    assert {split: np.bincount(part.labels).tolist() for split, part in data.splits.items()} == {
        "train": [12] * 3, "val": [3] * 3, "test": [5] * 3,
    }  # fmt: skip
    assert all(labels_are_the_folders(data, samples) for samples in data.splits.values())
    shutil.copytree(root, tmp_path / "some/where/else")
    moved = ImageFolder(str(tmp_path / "some/where/else"), test_fraction=0.25, val_fraction=0.2)
    assert by_split(moved) == splits
    assert moved.fingerprint() == data.fingerprint()
    other = ImageFolder(str(root), test_fraction=0.25, val_fraction=0.2, split_seed=1)
    assert all(by_split(other)[split] != splits[split] for split in splits)


def test_classes_are_in_alphabetical_order_and_their_images_found_to_the_bottom(tree):
    root = tree(train=2)
    shutil.copytree(root / "train/ant", root / "train/Zebra/striped/young")
    (root / "train/.thumbnails").mkdir()
    (root / "train/readme.txt").touch()
    data = ImageFolder(str(root))
    assert data.class_names == ["Zebra", "ant", "bee"]
    assert {
        p.parts[-2] for p, k in zip(data.splits["train"].images, data.splits["train"].labels, strict=True) if k == 0
    } == {"young"}


def test_splits_without_one_to_train_on_are_told(tree):
    root = tree(val=2, test=2)
    assert message(root) == f"data.root: {root}: has val, test but no 'train'; name the training folder so"


def message(root: Path, **options) -> str:
    with pytest.raises(DataError) as caught:
        _ = ImageFolder(str(root), **options).splits
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_absent_root_is_named(tmp_path):
    assert message(tmp_path / "nowhere") == (
        f"data.root: {tmp_path / 'nowhere'}: there is no such folder; give one with --data.root DIR"
    )


def test_fewer_than_two_classes_are_an_error(tree, tmp_path):
    assert message(tmp_path).startswith(f"data.root: {tmp_path}: needs two class folders or more")
    root = tree(train=2)
    shutil.rmtree(root / "train/bee")
    assert message(root).startswith(f"data.root: {root / 'train'}: needs two class folders or more with images")


def test_an_empty_class_is_named(tree):
    root = tree(train=3)
    (root / "train/cat").mkdir()
    assert message(root).startswith(f"data.root: {root / 'train/cat'}: the class folder has no images")


@pytest.mark.parametrize(("folder", "renamed"), [("val", "bees"), ("train", "bees")])
def test_a_class_that_only_one_split_has_is_named_with_the_nearest_other(folder, renamed, tree):
    root = tree(train=3, val=2)
    (root / folder / "bee").rename(root / folder / renamed)
    text = message(root)
    where, name, other = text.split(" has a class ")[0], text.split("'")[1], text.split("'")[-2]
    assert where in (f"data.root: {root / 'train'}", f"data.root: {root / 'val'}")
    assert {name, other} == {"bee", "bees"}
    assert (root / where.split("/")[-1] / name).is_dir()
    assert "val and train do not share" in text


def test_a_split_without_images_is_named(image_tree, tmp_path):
    root = image_tree(tmp_path / "few", 1, 8, ("ant", "bee"))
    assert message(root).startswith("data: the test split has no images; every class needs two or more")


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5])
def test_a_share_that_is_none_is_an_error(fraction, tmp_path):
    with pytest.raises(ConfigError, match=r"^data\.test_fraction: must lie between 0 and 1"):
        ImageFolder(str(tmp_path), test_fraction=fraction)
