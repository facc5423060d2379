"""What a classifier is measured by.

Shapes: B images, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)


def classification_metrics(num_classes: int) -> MetricCollection:
    """Accuracy (of all samples, not the mean of classes), top-5 where K > 5, and macro precision, recall and F1.

    Updated with logits (B, K) float and labels (B,) int64. Classes that are in neither the labels nor the
    predictions are left out of the macro means, as torchmetrics does; scikit-learn counts them as zero.
    """
    # without validation of the inputs, which would wait for the device at every batch
    options = {"num_classes": num_classes, "validate_args": False}
    metrics = {
        "accuracy": MulticlassAccuracy(average="micro", **options),
        "precision": MulticlassPrecision(average="macro", **options),
        "recall": MulticlassRecall(average="macro", **options),
        "f1": MulticlassF1Score(average="macro", **options),
    }
    if num_classes > 5:
        metrics["accuracy_top5"] = MulticlassAccuracy(average="micro", top_k=5, **options)
    return MetricCollection(metrics)  # which finds by itself that precision, recall and F1 share their counts


def per_class_accuracy(num_classes: int) -> MulticlassAccuracy:
    """The share of each class's samples that are classified right, (K,); 0 for a class without samples."""
    return MulticlassAccuracy(num_classes, average=None, validate_args=False)


class WeightedMean(Metric):
    """A mean of means, each with its weight: `total / weight`.

    torchmetrics' `MeanMetric` either waits for the device at every batch, to look for NaN, or ignores the weights.
    """

    total: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "weight"):
            self.add_state(name, torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, mean: Tensor, weight: Tensor | float) -> None:
        """Adds a scalar mean over samples of this total weight."""
        self.total += mean * weight
        self.weight += weight

    def compute(self) -> Tensor:
        """The mean over everything, a scalar."""
        return self.total / self.weight
