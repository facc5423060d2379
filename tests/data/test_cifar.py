"""CIFAR-10 and CIFAR-100 from small archives in torchvision's own layouts: what the downloaded bytes become."""

from __future__ import annotations

import numpy as np
import pytest

from project.data import CIFAR10, CIFAR100

SETS = pytest.mark.parametrize("data_class", [CIFAR10, CIFAR100])


@pytest.fixture
def archive(data_class, cifar):
    return cifar(data_class.__name__)


def assert_is_the_archive(data, archive) -> None:
    """Every image of the archive is there once, as it was and under its label, a fifth of each class held out."""
    splits = data.splits
    np.testing.assert_array_equal(splits["test"].images, archive.test[0])
    assert splits["test"].labels.tolist() == archive.test[1]
    known = {image.tobytes(): label for image, label in zip(*archive.train, strict=True)}
    held = [
        (image.tobytes(), label)
        for split in ("train", "val")
        for image, label in zip(splits[split].images, splits[split].labels.tolist(), strict=True)
    ]
    assert len(held) == len(known)
    assert dict(held) == known
    per_class = np.bincount(archive.train[1])
    assert np.bincount(splits["val"].labels).tolist() == [max(round(n / 5), 1) for n in per_class]


@SETS
def test_the_archive_is_downloaded_once_and_read(data_class, archive, server, tmp_path):
    data = data_class(str(tmp_path / "data"), val_fraction=0.2)
    assert_is_the_archive(data, archive)
    assert (data.image_size, data.resident) == (32, True)
    assert server.requests == [archive.name]
    assert_is_the_archive(data_class(str(tmp_path / "data"), val_fraction=0.2), archive)
    assert server.requests == [archive.name]


@SETS
def test_an_archive_put_there_by_hand_is_used(data_class, archive, server, tmp_path):
    (tmp_path / "data").mkdir()
    (server.folder / archive.name).rename(tmp_path / "data" / data_class.files)
    assert_is_the_archive(data_class(str(tmp_path / "data"), val_fraction=0.2), archive)
    assert server.requests == []


@SETS
def test_the_classes_are_those_of_the_archive_in_its_order(data_class, archive, tmp_path):
    assert data_class(str(tmp_path / "data")).class_names == archive.classes


def test_a_hundred_classes_have_the_fine_labels(cifar, tmp_path):
    archive = cifar("CIFAR100")
    data = CIFAR100(str(tmp_path / "data"))
    assert len(data.class_names) == len(set(archive.train[1])) == 100
    assert data.class_counts == [2] * 100  # of three, one is held out
