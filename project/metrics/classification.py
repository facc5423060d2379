"""What a classifier is measured by.

Shapes: B images, K classes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
    MulticlassStatScores,
)

from project.metrics.calibration import Bins, BrierScore, CalibrationError, NegativeLogLikelihood, TemperatureSearch
from project.metrics.sums import WeightedMean

_CONFUSION_CLASSES = 1000  # above it the matrix, K × K int64, is not kept


def classification_metrics(num_classes: int) -> MetricCollection:
    """Accuracy (of all samples, not the mean of classes), top-5 where K > 5, and macro precision, recall and F1.

    Updated with logits (B, K) float and labels (B,) int64. Classes that are in neither the labels nor the
    predictions are left out of the macro means, as torchmetrics does; scikit-learn counts them as zero. A class that is
    predicted and has no samples counts as zero, as in both.
    """
    # without validation of the inputs, which would wait for the device at every batch
    options: dict[str, Any] = {"num_classes": num_classes, "validate_args": False}
    metrics: dict[str, Metric | MetricCollection] = {
        "accuracy": MulticlassAccuracy(average="micro", **options),
        "precision": MulticlassPrecision(average="macro", **options),
        "recall": MulticlassRecall(average="macro", **options),
        "f1": MulticlassF1Score(average="macro", **options),
    }
    if num_classes > 5:
        metrics["accuracy_top5"] = MulticlassAccuracy(average="micro", top_k=5, **options)
    return MetricCollection(metrics)  # which finds by itself that precision, recall and F1 share their counts


class ClassAccuracy(MulticlassStatScores):
    """Accuracy per class, (K,) float32: the fraction of its samples that are classified right, NaN of none.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average=None, validate_args=False)

    def compute(self) -> Tensor:
        """See the class."""
        right, *_, samples = super().compute().unbind(-1)
        return right / samples


class Outcome(NamedTuple):
    """What one evaluation found beyond single numbers, of all processes, in host memory."""

    confusion: Tensor | None
    """(K, K) int64, samples by true class and prediction; None above 1,000 classes."""
    class_accuracy: Tensor
    """(K,) float32 in 0..1; NaN for a class without samples."""
    reliability: Bins


class SplitScores(nn.Module):
    """All that is measured on one split, kept on the device and read at the end of an epoch.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.loss = WeightedMean()
        self.scores = classification_metrics(num_classes)
        self.classes = ClassAccuracy(num_classes)
        self.temperature = TemperatureSearch()
        # as the network says it, and as its temperature corrects it
        self.ece_uncalibrated = CalibrationError()
        self.ece, self.brier, self.nll = CalibrationError(), BrierScore(), NegativeLogLikelihood()
        self.confusion = None
        if num_classes <= _CONFUSION_CLASSES:
            self.confusion = MulticlassConfusionMatrix(num_classes, validate_args=False)

    def update(
        self, loss: Tensor, weight: Tensor | float, logits: Tensor, labels: Tensor, temperature: Tensor | None
    ) -> None:
        """Adds a batch.

        Args:
            loss: its mean, a scalar.
            weight: total weight of the samples in it.
            logits: (B, K).
            labels: (B,) int64.
            temperature: what the logits are divided by for calibrated probabilities, a scalar; `None` while it is
                searched for.
        """
        self.loss.update(loss, weight)
        logits = logits.float()
        self.scores.update(logits, labels)
        self.classes.update(logits, labels)
        self.ece_uncalibrated.update(logits.softmax(1), labels)
        if self.confusion is not None:
            self.confusion.update(logits, labels)
        if temperature is None:
            self.temperature.update(logits, labels)
        else:
            probabilities = (logits / temperature).softmax(1)
            self.ece.update(probabilities, labels)
            self.brier.update(probabilities, labels)
            self.nll.update(logits / temperature, labels)

    def compute(self, calibrated: bool) -> dict[str, float]:
        """Each metric by its name; what needs a temperature only where it was `calibrated`."""
        values = {
            "loss": self.loss.compute(),
            **self.scores.compute(),
            "ece_uncalibrated": self.ece_uncalibrated.compute(),
        }
        if calibrated:
            values |= {"ece": self.ece.compute(), "nll": self.nll.compute(), "brier": self.brier.compute()}
        return {name: value.item() for name, value in values.items()}

    def outcome(self, calibrated: bool) -> Outcome:
        """See `Outcome`; the reliability of `calibrated` probabilities, or of the network's own.

        Every process must call it.
        """
        bins = (self.ece if calibrated else self.ece_uncalibrated).bins()
        confusion = None if self.confusion is None else self.confusion.compute().cpu()
        return Outcome(confusion, self.classes.compute().cpu(), Bins(*(values.cpu() for values in bins)))

    def reset(self) -> None:
        """Forgets everything, for a new epoch."""
        for metric in self.children():
            assert isinstance(metric, Metric | MetricCollection)
            metric.reset()
