"""What a classifier says of every sample of a split, found once, for all that is measured and drawn of it.

Shapes: N samples, B of them in a batch, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from project.data.base import ImageDataModule
from project.data.samples import Split
from project.models.multi_view import mean_logits
from project.tasks import Classifier


@dataclass(frozen=True)
class Outcomes:
    """One row a sample, in the order of the split, in host memory.

    Attributes:
        split: the one that was looked at.
        class_names: of the K classes.
        logits: (N, K) float32, with the classifier's test-time augmentation and before its temperature.
        labels: (N,) int64.
        indices: (N,) int64, each sample's place in the split.
        names: of each sample, its file or its place.
        temperature: what the classifier divides logits by.
    """

    split: Split
    class_names: list[str]
    logits: Tensor
    labels: Tensor
    indices: Tensor
    names: list[str]
    temperature: float = 1.0

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def probabilities(self) -> Tensor:
        """Calibrated, (N, K) float32 in 0..1."""
        return (self.logits / self.temperature).softmax(1)

    @cached_property
    def predictions(self) -> Tensor:
        """The likeliest class, (N,) int64."""
        return self.logits.argmax(1)

    @cached_property
    def confidence(self) -> Tensor:
        """Its calibrated probability, (N,) float32 in 0..1."""
        return self.probabilities.amax(1)

    @cached_property
    def correct(self) -> Tensor:
        """Whether that is the label, (N,) bool."""
        return self.predictions == self.labels

    def mistakes(self) -> Tensor:
        """Rows of the wrong predictions, the most confident first, (M,) int64."""
        wrong = (~self.correct).nonzero()[:, 0]
        return wrong[self.confidence[wrong].argsort(descending=True, stable=True)]


@torch.no_grad()
def collect_outcomes(classifier: Classifier, data: ImageDataModule, split: Split = "test") -> Outcomes:
    """Predictions of a whole split, in the classifier's precision, as `test` has them.

    Args:
        classifier: on the device that is to be used.
        data: its data.
        split: a set without labelled test images has its validation split in the place of `test`.
    """
    split = existing_split(data, split)
    classifier.eval()
    logits, labels, indices = [], [], []
    for batch in data.batches_in_order(split, classifier.device):
        with classifier.computing():
            logits.append(mean_logits(classifier, batch.images, classifier.tta).float().cpu())
        labels.append(batch.labels.cpu())
        indices.append(batch.indices.cpu())
    places = torch.cat(indices)
    return Outcomes(
        split,
        classifier.class_names,
        torch.cat(logits),
        torch.cat(labels),
        places,
        [data.splits[split].name_of(place) for place in places.tolist()],
        classifier.temperature.item(),
    )


def existing_split(data: ImageDataModule, split: Split) -> Split:
    """The split that a command looks at by this name: `val` for `test` where there are no labelled test images."""
    return split if split in data.splits else "val"
