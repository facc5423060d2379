"""Image classification.

Shapes: B images of S × S pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional
from torch.optim import SGD
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassConfusionMatrix

from project.data.batch import Batch
from project.data.images import load_square, to_rgb, to_square
from project.errors import ConfigError
from project.metrics.classification import WeightedMean, classification_metrics, per_class_accuracy
from project.models import build_backbone
from project.models.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize
from project.optim import OneCycle
from project.tasks.base import Task

_CONFUSION_CLASSES = 1000  # above it the matrix, K × K int64, is not kept


class Classifier(Task):
    """A backbone trained with cross-entropy.

    Class names, image size and normalisation are hyper-parameters, so a checkpoint needs no data set to predict.

    Args:
        class_names: the K classes in the order of their labels; the command line takes them from the data.
        image_size: S in pixels; likewise.
        backbone: a name in `project.models.BACKBONES`.
        backbone_options: its own options, such as `width: 64`.
        mean: of each channel over the training images, in 0..1; ImageNet's by default.
        std: likewise.
        label_smoothing: share of the target spread evenly over all classes (Szegedy et al. 2015, arXiv:1512.00567).
        class_weights: a factor of each class's loss; `balanced` makes them inverse to the class's frequency, with a
            mean of one over the training images.
        optimizer: see `Task`.
        lr_scheduler: see `Task`.
        init_from: see `Task`.
    """

    monitor = "val/accuracy"
    monitor_mode = "max"
    identity = ("class_names", "image_size", "backbone", "backbone_options", "mean", "std")

    def __init__(
        self,
        class_names: Sequence[str],
        image_size: int,
        backbone: str = "small_resnet",
        backbone_options: dict[str, Any] | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        label_smoothing: float = 0.0,
        class_weights: Literal["balanced"] | list[float] | None = None,
        optimizer: OptimizerCallable = lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True),
        lr_scheduler: LRSchedulerCallable | None = lambda o: OneCycle(o, warmup=0.25),
        init_from: str | None = None,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, init_from)
        num_classes = len(class_names)
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ConfigError("model.mean, model.std: three numbers each, one a channel, and std above zero")
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"model.label_smoothing: must lie in 0..1; got {label_smoothing}")
        if isinstance(class_weights, list) and len(class_weights) != num_classes:
            raise ConfigError(f"model.class_weights: {len(class_weights)} numbers for {num_classes} classes")
        self.save_hyperparameters(
            {
                "class_names": list(class_names),
                "image_size": image_size,
                "backbone": backbone,
                "backbone_options": dict(backbone_options or {}),
                "mean": list(mean),
                "std": list(std),
                "label_smoothing": label_smoothing,
                "class_weights": class_weights,
            },
            logger=False,
        )
        self.class_names = list(class_names)
        self.image_size = image_size
        self.normalize = Normalize(list(mean), list(std))
        self.network = build_backbone(backbone, num_classes, image_size, backbone_options)
        self.network.to(memory_format=torch.channels_last)
        self.label_smoothing = label_smoothing
        self._balanced = class_weights == "balanced"
        # in the state dictionary, since balanced ones follow from the training data
        weights = torch.ones(num_classes) if self._balanced else class_weights and torch.tensor(class_weights)
        self.register_buffer("loss_weights", weights)
        self.metrics = torch.nn.ModuleDict({f"{stage}_metrics": _Metrics(num_classes) for stage in ("val", "test")})

    def setup(self, stage: str) -> None:
        """Computes balanced class weights from the training data where they are asked for."""
        super().setup(stage)
        if self._balanced and stage == "fit":
            counts = torch.tensor(self.trainer.datamodule.class_counts, dtype=torch.float32)
            self.loss_weights.copy_(counts.sum() / (len(counts) * counts.clamp(min=1)))

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (B, K), of images (B, 3, S, S) uint8."""
        normalized = self.normalize(images)
        return self.network(normalized.to(self.network.head.weight.dtype))  # of a network that is all in 16 bits

    # ---- training and evaluation

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        loss, logits = self._shared_step(batch)
        accuracy = (logits.detach().argmax(1) == batch.labels).float().mean()
        self.training_means.update(len(batch.labels), loss=loss, accuracy=accuracy)
        self.log_step(loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds one batch to the validation metrics."""
        loss, logits = self._shared_step(batch)
        self.metrics["val_metrics"].update(loss, logits, batch.labels, self.loss_weights)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds one batch to the test metrics."""
        loss, logits = self._shared_step(batch)
        self.metrics["test_metrics"].update(loss, logits, batch.labels, self.loss_weights)

    def _shared_step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean loss and logits (B, K)."""
        logits = self(batch.images)
        loss = functional.cross_entropy(
            logits, batch.labels, weight=self.loss_weights, label_smoothing=self.label_smoothing
        )
        return loss, logits

    def on_validation_epoch_end(self) -> None:
        """Records the validation metrics."""
        self._record_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Records the test metrics."""
        self._record_metrics("test")

    def _record_metrics(self, stage: str) -> None:
        metrics = self.metrics[f"{stage}_metrics"]
        self.record({f"{stage}/{name}": value for name, value in metrics.compute().items()})
        if self.trainer.state.fn != "fit":
            per_class = metrics.per_class(self.class_names)
            self.results |= {f"{stage}/class_accuracy/{name}": value for name, value in per_class.items()}
            self.confusion = metrics.confusion_matrix()
        metrics.reset()

    # ---- prediction

    def predict_step(self, batch: Batch, batch_idx: int) -> tuple[Tensor, Tensor]:
        """Indices of the inputs (B,) and probabilities (B, K)."""
        return batch.indices, self(batch.images).float().softmax(1)

    def prediction(self, probabilities: Tensor) -> dict[str, Any]:
        """One image's answer from its probabilities (K,): label, probability, and the five best in order."""
        values, classes = probabilities.topk(min(5, len(self.class_names)))
        best = [[self.class_names[c], v] for c, v in zip(classes.tolist(), values.tolist(), strict=True)]
        return {"label": best[0][0], "probability": best[0][1], "top5": best}

    @torch.inference_mode()
    def predict(self, images: Sequence[str | Path | Image.Image | np.ndarray], batch_size: int = 64) -> list[dict]:
        """Classifies images of any size and mode, as `python -m project predict` does.

        Args:
            images: paths, PIL images, or arrays (H, W) or (H, W, 3) uint8.
            batch_size: images at a time.

        Returns:
            For each image `{"label": str, "probability": float, "top5": [[label, probability], ...]}`.

        Raises:
            DataError: a file cannot be read as an image.
        """
        was_training = self.training
        self.eval()
        answers = []
        for first in range(0, len(images), batch_size):
            squares = np.stack([_square(image, self.image_size) for image in images[first : first + batch_size]])
            batch = torch.from_numpy(squares).to(self.device).permute(0, 3, 1, 2)
            answers += [self.prediction(row) for row in self(batch).float().softmax(1).cpu()]
        self.train(was_training)
        return answers


class _Metrics(torch.nn.Module):
    """One stage's metrics, kept on the device and read at the end of an epoch."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.loss = WeightedMean()
        self.scores: MetricCollection = classification_metrics(num_classes)
        self.classes = per_class_accuracy(num_classes)
        self.confusion = None
        if num_classes <= _CONFUSION_CLASSES:
            self.confusion = MulticlassConfusionMatrix(num_classes, validate_args=False)

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor, class_weights: Tensor | None) -> None:
        # a weighted cross-entropy is divided by the weights of its samples, not by their number
        self.loss.update(loss, len(labels) if class_weights is None else class_weights[labels].sum())
        self.scores.update(logits, labels)
        self.classes.update(logits, labels)
        if self.confusion is not None:
            self.confusion.update(logits, labels)

    def compute(self) -> dict[str, float]:
        return {"loss": self.loss.compute().item()} | {k: v.item() for k, v in self.scores.compute().items()}

    def per_class(self, class_names: list[str]) -> dict[str, float]:
        return dict(zip(class_names, self.classes.compute().tolist(), strict=True))

    def confusion_matrix(self) -> list[list[int]] | None:
        return None if self.confusion is None else self.confusion.compute().tolist()

    def reset(self) -> None:
        for metric in (self.loss, self.scores, self.classes, self.confusion):
            if metric is not None:
                metric.reset()


def _square(image: str | Path | Image.Image | np.ndarray, size: int) -> np.ndarray:
    if isinstance(image, (str, Path)):
        return load_square(Path(image), size)
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else ImageOps.exif_transpose(image)
    return to_square(to_rgb(picture), size)
