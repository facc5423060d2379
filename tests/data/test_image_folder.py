"""Trees of class folders: which splits they make, and what is said of those that make none."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest

from project.data import ImageFolder
from project.data.samples import Samples
from project.errors import DataError


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
    assert message(root).startswith(
        f"data.root: {root}: has test, val but no 'train'; name the training folder so; or --data"
    )


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


def test_an_empty_class_is_named_with_what_it_has(tree):
    root = tree(train=3)
    (root / "train/cat").mkdir()
    assert message(root).startswith(
        f"data.root: {root / 'train/cat'}: the class folder has no images; add some, or remove"
    )
    (root / "train/cat/1.heic").touch()
    assert "the class folder has no images, only .heic; add some" in message(root)


@pytest.mark.parametrize("name", ["train", "valid", "test"])
def test_a_class_named_like_a_split_is_one_beside_other_classes(name, image_tree, tmp_path, caplog):
    caplog.set_level("INFO")
    root = image_tree(tmp_path / "set", 10, 8, ("bus", name))
    data = ImageFolder(str(root))
    assert data.class_names == ["bus", name]
    assert {split: np.bincount(samples.labels).tolist() for split, samples in data.splits.items()} == {
        "train": [8, 8], "val": [1, 1], "test": [1, 1],
    }  # fmt: skip
    assert [line for line in caplog.messages if f"'{name}' is taken for a class like 'bus'" in line]


@pytest.mark.parametrize(
    "names", [("train", "test"), ("train", "test1"), ("train", "test_set", "val"), ("training", "testing")]
)
def test_split_folders_alone_are_no_classes(names, image_tree, tmp_path):
    text = message(image_tree(tmp_path / "set", 4, 8, names))
    assert "ImageTable" in text
    assert "has no class folders" in text or "but no 'train'" in text


def test_a_validation_split_without_labels_is_held_out_of_training(tree, caplog):
    caplog.set_level("INFO")
    root = tree(train=20, val=2)
    for path in sorted((root / "val").rglob("*.png")):
        path.rename(root / "val" / f"{path.parent.name}{path.name}")
    for name in ("ant", "bee"):
        (root / "val" / name).rmdir()
    assert {split: len(samples) for split, samples in ImageFolder(str(root)).splits.items()} == {"train": 36, "val": 4}
    assert (
        f"data: {root / 'val'}: has no class folders; validation is held out of the training images" in caplog.messages
    )


def test_what_is_left_out_is_counted_by_its_ending(tree, caplog):
    caplog.set_level("INFO")
    root = tree(train=4)
    for name in ("ant/a.heic", "ant/b.HEIC", "bee/notes.txt", "bee/plain", "ant/@eaDir/a.png", "bee/Thumbs/a.heic"):
        (root / "train" / name).parent.mkdir(exist_ok=True)
        (root / "train" / name).touch()
    for name in ("train/@eaDir/SYNO.png", "#recycle/ant/a.png", "__MACOSX/x.png", "raw/x.png", "train/stray.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    data = ImageFolder(str(root))
    assert data.class_names == ["ant", "bee"]
    assert sum(map(len, data.splits.values())) == 8
    assert sorted(line for line in caplog.messages if line.startswith("data: ")) == [
        f"data: {root / 'train'}: left out outside of class folders: 1 images",
        f"data: {root}: left out beside the splits: 'raw'",
        f"data: {root}: left out by their endings: 3 .heic, 1 .txt, 1 without an ending",
    ]


@pytest.mark.parametrize(("folder", "renamed"), [("val", "bees"), ("train", "bees")])
def test_a_class_that_only_one_split_has_is_named_with_the_nearest_other(folder, renamed, tree):
    root = tree(train=3, val=2)
    (root / folder / "bee").rename(root / folder / renamed)
    text = message(root)
    where, name, other = text.split(" has a class ")[0], text.split("'")[1], text.split("'")[-2]
    assert where in (f"data.root: {root / 'train'}", f"data.root: {root / 'val'}")
    assert {name, other} == {"bee", "bees"}
    assert (root / where.split("/")[-1] / name).is_dir()
    assert text.endswith("; did you mean '" + other + "'?")
    assert "that the training images lack" in text


def test_a_split_without_images_is_named(image_tree, tmp_path):
    root = image_tree(tmp_path / "few", 1, 8, ("ant", "bee"))
    assert message(root).startswith("data: the test split has no images; every class needs two or more")
