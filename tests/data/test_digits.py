"""The embedded digits, against scikit-learn's own arrays."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sklearn.datasets import load_digits

from project.data import Digits
from project.data.augmentation import Augmentation
from project.data.samples import Samples
from project.errors import ConfigError


def contents(*parts: Samples) -> Counter:
    """How often each labelled image is there: a few scans are there twice."""
    return Counter(
        (int(label), image.tobytes()) for part in parts for image, label in zip(part.images, part.labels, strict=True)
    )


def test_the_three_splits_share_out_the_whole_set_in_full_grey_range():
    splits = Digits().splits
    source = load_digits()
    grey = [[[int(value * 255 / 16 + 0.5) for value in row] for row in image] for image in source.images]
    assert splits["train"].images.dtype == np.uint8
    assert set(splits) == {"train", "val", "test"}
    assert all(samples.split == split for split, samples in splits.items())
    assert contents(*splits.values()) == contents(Samples(np.array(grey, np.uint8), source.target, "train"))


def test_the_test_split_has_a_fifth_of_each_class():
    splits = Digits().splits
    totals = np.bincount(load_digits().target)
    np.testing.assert_array_equal(np.bincount(splits["test"].labels), np.round(0.2 * totals))
    rest = totals - np.round(0.2 * totals)
    np.testing.assert_array_equal(np.bincount(splits["val"].labels), np.round(0.1 * rest))
    assert {split: len(samples) for split, samples in splits.items()} == {"train": 1295, "val": 143, "test": 359}


def test_the_test_split_is_fixed_and_validation_follows_its_seed_and_share():
    first, other = Digits().splits, Digits(seed=1, split_seed=1, val_fraction=0.3).splits
    assert other["test"].fingerprint() == first["test"].fingerprint()
    assert other["val"].fingerprint() != first["val"].fingerprint()
    np.testing.assert_array_equal(np.bincount(other["val"].labels), np.round(0.3 * np.bincount(
        np.concatenate([first["train"].labels, first["val"].labels]))))  # fmt: skip


def test_there_are_ten_classes_by_the_digit_they_show():
    data = Digits()
    assert data.class_names == list("0123456789")
    assert data.class_counts == np.bincount(data.splits["train"].labels).tolist()
    assert (data.image_size, data.resident) == (32, True)


def test_a_set_in_memory_is_not_told_to_stream_and_then_that_it_cannot():
    with pytest.raises(ConfigError, match="cannot be streamed"):
        _ = Digits(storage="stream").resident
    with pytest.raises(ConfigError, match=r"data\.augment\.min_area") as caught:
        _ = Digits(augment=Augmentation(min_area=0.5)).resident
    assert "--data.storage stream" not in str(caught.value)
