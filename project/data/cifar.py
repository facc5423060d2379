"""CIFAR-10, downloaded and checked by torchvision."""

from __future__ import annotations

from typing import Any

import numpy as np
from torchvision import datasets

from project.data.base import ImageDataModule
from project.data.samples import Samples, Split
from project.errors import DataError


class CIFAR10(ImageDataModule):
    """60,000 colour images of 32 × 32 pixels in ten classes (Krizhevsky 2009), 10,000 of them the test split.

    Validation is held out of the 50,000 training images.

    Args:
        root: where the archive is kept; it is downloaded there once.
        **options: those of `ImageDataModule`.
    """

    def __init__(self, root: str = "data", **options: Any) -> None:
        super().__init__(**options)
        self.root = root

    @property
    def class_names(self) -> list[str]:
        """In the order of the labels."""
        return ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

    def load_splits(self) -> dict[Split, Samples]:
        """Downloads the archive if it is not there, and reads it."""
        try:
            parts = {
                split: datasets.CIFAR10(self.root, train=split == "train", download=True) for split in ("train", "test")
            }
        except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong checksum is a RuntimeError
            raise DataError(f"data.root: CIFAR-10 cannot be downloaded to {self.root}: {error}; put "
                            "cifar-10-python.tar.gz there by hand and try again") from None  # fmt: skip
        return {split: Samples(part.data, np.array(part.targets, np.int64), split) for split, part in parts.items()}
