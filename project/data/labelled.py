"""The datamodule under the sets of labelled images that users bring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info

from project.data.base import ImageDataModule
from project.data.class_order import ClassOrder, sorted_as_texts
from project.data.samples import Samples, Split
from project.errors import ConfigError, DataError


class LabelledImages(ImageDataModule, ABC):
    """Images with a class each; a data set is a subclass with `class_names` and `load_splits`.

    Validation and test may lack classes, and have images without labels, which can be predicted and not tested.

    Args:
        test_fraction: share of each class held out for testing where the set does not say which images are.
        class_order: `name` sorts the classes as texts, `natural` with numbers by their value; or all their names in order.
        **options: those of `ImageDataModule`.
    """

    unlabelled_test: str | None = None
    """Where the test images are, if they have no labels."""

    def __init__(self, test_fraction: float = 0.1, class_order: ClassOrder = "name", **options: Any) -> None:
        super().__init__(**options)
        if not 0 < test_fraction < 1:
            raise ConfigError(f"data.test_fraction: must lie between 0 and 1; got {test_fraction}")
        self.test_fraction = test_fraction
        self.class_order = class_order

    @abstractmethod
    def load_splits(self) -> dict[Split, Samples]:
        """The splits that the set brings."""

    def setup(self, stage: str) -> None:
        """Refuses to test images without labels, and classes of unreadable ones alone; says once which classes a split lacks, and that numbers are texts."""
        if stage == "test" and "test" not in self.splits and self.unlabelled_test:
            raise DataError(f"data: {self.unlabelled_test}: its images have no labels to test by; predict them with python -m "
                            f"project predict --ckpt_path RUN --data.predict {self.unlabelled_test}")  # fmt: skip
        super().setup(stage)
        if stage == "fit" and self.skip_bad and self.resident and 0 in (counts := self.class_counts):
            raise DataError(f"train split: none of the images of the class '{self.class_names[counts.index(0)]}' can be read; "
                            "repair them, or leave the class out")  # fmt: skip
        for split in self._needed(stage) if stage != "predict" else ():
            if split in self.splits and (line := self.splits[split].absent_classes(self.class_names)):
                rank_zero_info(line)
        if stage == "fit" and self.class_order == "name" and (places := sorted_as_texts(self.class_names)):
            rank_zero_info(f"data: the classes are numbers and sorted as texts, {places}; --data.class_order natural sorts them "
                           "by value")  # fmt: skip
