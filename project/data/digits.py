"""The embedded handwritten digits: 1,797 scans of 8 × 8 grey pixels that ship with scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np

from project.data.base import ImageDataModule
from project.data.samples import Samples, Split, stratified_split

_TEST_FRACTION = 0.2
_TEST_SEED = 0


class Digits(ImageDataModule):
    """Ten classes of handwritten digits (UCI "Optical Recognition of Handwritten Digits", its test set).

    The test split is fixed: 20 % of each class (359 images) by a hash of the sample's index, whatever the seeds.
    Of the rest, `val_fraction` is held out for validation. The grey values 0..16 become 0..255, every pixel is
    repeated into three equal channels, and the image is scaled to `image_size` by the common rule.

    Args:
        **options: those of `ImageDataModule`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    @property
    def class_names(self) -> list[str]:
        """`0` to `9`."""
        return [str(digit) for digit in range(10)]

    def load_splits(self) -> dict[Split, Samples]:
        """Training with validation still in it, and the fixed test split."""
        from sklearn.datasets import load_digits  # takes a second to import, and other sets do without it

        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)
        everything = Samples(images, digits.target.astype(np.int64), "train")
        kept, test = stratified_split(everything.labels, everything.keys(), _TEST_FRACTION, _TEST_SEED)
        return {"train": everything.take(kept, "train"), "test": everything.take(test, "test")}
