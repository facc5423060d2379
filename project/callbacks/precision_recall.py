"""Precision against recall, for TensorBoard's own page of these curves.

Shapes: B images, K classes, T thresholds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from project.callbacks.pictures import DrawingTime, Pictures, latest_step, summary_writer
from project.text import printable

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_CURVES = 10


class ThresholdCounts:
    """How many probabilities reach each threshold, of a class's own images and of others.

    Thresholds are evenly spaced over 0..1. It keeps counts alone, so memory does not grow with the data.

    Args:
        num_classes: K.
        device: where the counts are kept.
        num_thresholds: T; TensorBoard shows 127 at most.
    """

    def __init__(self, num_classes: int, device: Any, num_thresholds: int = 101) -> None:
        self.num_thresholds = num_thresholds
        self._counts = torch.zeros(2, num_classes, num_thresholds, dtype=torch.int32, device=device)

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """Adds a batch: probabilities (B, K) float in 0..1, labels (B,) int64."""
        classes = torch.arange(probabilities.shape[1], device=labels.device)
        own = (labels[:, None] == classes).long()
        reached = (probabilities * (self.num_thresholds - 1)).long().clamp(0, self.num_thresholds - 1)
        places = (own * len(classes) + classes) * self.num_thresholds + reached
        flat = self._counts.view(-1)
        flat.index_add_(0, places.flatten(), torch.ones_like(places.flatten(), dtype=flat.dtype))

    def compute(self) -> tuple[Tensor, Tensor]:
        """True and false positives, each (K, T) int64 in host memory, at rising thresholds."""
        negative, positive = self._counts.cpu().long().flip(2).cumsum(2).flip(2)
        return positive, negative


class PrecisionRecall(Pictures):
    """A curve of all classes together, and of each class against the rest: of more than ten, the ten worst in the end.

    Of the first process's share of the images. The worst are those with the least average precision; which they are
    changes from epoch to epoch, so theirs are drawn after the last alone.

    Args:
        time: see `Pictures`.
    """

    needs = "logits"

    def __init__(self, time: DrawingTime) -> None:
        super().__init__(time)
        self._counts: ThresholdCounts | None = None

    def forget(self) -> None:
        """Forgets the counts of the validation before."""
        self._counts = None

    def collect(self, outputs: dict[str, Any], batch: Any) -> None:
        """Counts a batch, on the device."""
        probabilities = outputs["logits"].float().softmax(1)
        if self._counts is None:
            self._counts = ThresholdCounts(probabilities.shape[1], probabilities.device)
        self._counts.update(probabilities, batch.labels)

    def draw(self, pl_module: LightningModule, writer: SummaryWriter, step: int) -> None:
        """See the class."""
        if self._counts is None:
            return
        positive, negative = self._counts.compute()
        _add_curve(writer, "precision_recall/all", positive.sum(0), negative.sum(0), step)
        if len(positive) <= _CURVES:
            names: list[str] = getattr(pl_module, "class_names", [])
            for name, of_class, of_others in zip(names, positive, negative, strict=True):
                _add_curve(writer, f"precision_recall/{name}", of_class, of_others, step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws what the last validation found, and the worst of many classes."""
        super().on_train_end(trainer, pl_module)
        writer, names = summary_writer(trainer), getattr(pl_module, "class_names", [])
        if writer is None or self._counts is None or len(names) <= _CURVES:
            return
        positive, negative = self._counts.compute()
        for place in average_precision(positive, negative).argsort()[:_CURVES].tolist():
            tag = f"precision_recall/{names[place]}"
            _add_curve(writer, tag, positive[place], negative[place], latest_step(trainer))


def average_precision(positive: Tensor, negative: Tensor) -> Tensor:
    """Σ_t (R_t - R_{t+1}) P_t, (K,) in 0..1, of true and false positives (K, T); NaN for a class without images."""
    recall, precision = positive / positive[:, :1], positive / (positive + negative).clamp(min=1)
    return -(recall.diff(dim=1, append=torch.zeros_like(recall[:, :1])) * precision).sum(1)


def _add_curve(writer: SummaryWriter, tag: str, positive: Tensor, negative: Tensor, step: int) -> None:
    """A curve of true and false positives (T,): at the threshold 0, the first, every image is one or the other."""
    missed, rejected = positive[0] - positive, negative[0] - negative
    precision, recall = positive / (positive + negative).clamp(min=1), positive / positive[0].clamp(min=1)
    writer.add_pr_curve_raw(
        printable(tag), positive, negative, rejected, missed, precision, recall, step, len(positive)
    )
