"""Image classification.

Shapes: B images of S × S pixels, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.nn import functional
from torch.optim import SGD

from project.data.base import ImageDataModule
from project.data.batch import Batch, as_batch
from project.data.class_order import sorted_as_texts
from project.data.value_range import check_value_range
from project.errors import CheckpointError, ConfigError, DataError, did_you_mean
from project.metrics.classification import Outcome, SplitScores
from project.models import build_backbone
from project.models.multi_view import Views, mean_logits
from project.models.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize
from project.models.pretrained import load_pretrained
from project.optim import OneCycle
from project.runs.precision import check_compiler
from project.runs.undeclared import data_of
from project.tasks.adversarial_training import AdversarialTraining
from project.tasks.fine_tuned import FineTunedTask
from project.tasks.fine_tuning import FineTuner, FineTuning


class Classifier(FineTunedTask):
    """A backbone trained with cross-entropy.

    Class names, image size and normalisation are hyper-parameters, so a checkpoint needs no data set to predict.

    Args:
        class_names: the K classes in the order of their labels; the command line takes them from the data.
        image_size: S in pixels; likewise.
        backbone: a name in `project.models.BACKBONES`.
        backbone_options: its own options, such as `width: 64`.
        weights: pretrained weights to start from, by torchvision's name, such as `IMAGENET1K_V2` or `DEFAULT`.
        mean: of each channel over the training images, in 0..1; ImageNet's by default.
        std: likewise.
        label_smoothing: share of the target spread evenly over all classes (Szegedy et al. 2015, arXiv:1512.00567).
        class_weights: a factor of each class's loss, in the order of the labels or by the class's name, where others have 1;
            `balanced` makes them inverse to the class's frequency, with a mean of one over the training images.
        fine_tuning: which parts of the network learn, from when on, and how fast.
        sam: see `Task`.
        adversarial: training on images that are changed to be misread.
        tta: views that `validate`, `test` and `predict` average over: `flip`, or `flip_shift`.
        compile: whether the network is compiled, in place: a checkpoint does not show it.
        center_crop: share of the shorter side that evaluation looks at; the command line takes it from the data.
        value_range: values of grey images with more than 8 bits that become black and white; likewise.
        optimizer: see `Task`.
        lr_scheduler: see `Task`.
        init_from: see `Task`.
    """

    monitor = "val/accuracy"
    monitor_mode = "max"
    loss_weights: Tensor | None
    temperature: Tensor

    identity = (
        "class_names",
        "image_size",
        "center_crop",
        "value_range",
        "backbone",
        "backbone_options",
        "mean",
        "std",
    )

    def __init__(
        self,
        class_names: Sequence[str],
        image_size: int,
        backbone: str = "small_resnet",
        backbone_options: dict[str, Any] | None = None,
        weights: str | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        label_smoothing: float = 0.0,
        class_weights: Literal["balanced"] | list[float] | dict[str, float] | None = None,
        fine_tuning: FineTuning = FineTuning(),
        sam: float = 0.0,
        adversarial: AdversarialTraining = AdversarialTraining(),
        tta: Views | None = None,
        compile: bool = False,  # noqa: A002  torch's word for it
        center_crop: float = 1.0,
        value_range: tuple[float, float] | None = None,
        optimizer: OptimizerCallable = lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True),
        lr_scheduler: LRSchedulerCallable | None = lambda o: OneCycle(o, warmup=0.25),
        init_from: str | None = None,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, init_from, sam)
        num_classes = len(class_names)
        if num_classes < 2:
            raise ConfigError(f"model.class_names: a classifier needs two classes or more; got {list(class_names)}")
        if weights and init_from:
            raise ConfigError("model.weights, model.init_from: both say what to start from; give one of them")
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"model.label_smoothing: must lie in 0..1; got {label_smoothing}")
        factors = _class_factors(class_weights, class_names)
        self.value_range = check_value_range(value_range, "model.value_range")
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
                "tta": tta,
                "center_crop": center_crop,
                "value_range": list(self.value_range) if self.value_range else None,
            },
            logger=False,
        )
        self.class_names = list(class_names)
        self.image_size = image_size
        self.center_crop = center_crop
        self.normalize = Normalize(list(mean), list(std))
        self.network = build_backbone(backbone, num_classes, image_size, backbone_options)
        self.network.to(memory_format=torch.channels_last)
        self.weights = weights
        self.fine_tuner = FineTuner(self.network, fine_tuning)
        if adversarial and sam:
            raise ConfigError("model.adversarial, model.sam: both look for the worst nearby, one in the images and one in "
                              "the weights; set one of them to 0")  # fmt: skip
        self.adversarial = adversarial
        self.tta = tta
        self.compiles = compile
        self.label_smoothing = label_smoothing
        self._balanced = class_weights == "balanced"
        # in the state dictionary where they follow from the training data
        self.register_buffer("loss_weights", factors, persistent=self._balanced)
        # what probabilities are calibrated with, found on the validation split (Guo et al. 2017, arXiv:1706.04599)
        self.register_buffer("temperature", torch.tensor(1.0))
        self.metrics: Mapping[str, SplitScores] = torch.nn.ModuleDict(  # type: ignore[assignment]  # torch's holds any module
            {f"{stage}_metrics": SplitScores(num_classes) for stage in ("val", "test")}
        )
        self.outcome: Outcome | None = None
        """What the latest evaluation found, for who draws it."""

    # ---- before training

    def setup(self, stage: str) -> None:
        """Takes pretrained weights, freezes, compiles, and computes balanced class weights from the training data."""
        if self.weights and self.trainer.ckpt_path is None:
            self._load_pretrained(self.weights, stage)
        super().setup(stage)
        if stage == "fit":
            if self.network.note:
                rank_zero_info(self.network.note)
            self.fine_tuner.freeze_for_good()
            self._check_train_size()
        if self.compiles:
            check_compiler(self.trainer.strategy.root_device)
            self.network.compile()
        if self._balanced and stage == "fit":
            data = data_of(self.trainer)
            if not isinstance(data, ImageDataModule):
                raise ConfigError(
                    "model.class_weights: 'balanced' needs the class counts of a datamodule; give numbers"
                )
            counts = torch.tensor(data.class_counts, dtype=torch.float32)
            assert self.loss_weights is not None
            self.loss_weights.copy_(counts.sum() / (len(counts) * counts.clamp(min=1)))

    def _load_pretrained(self, weights: str, stage: str) -> None:
        found = load_pretrained(self.network, self.hparams["backbone"], weights)
        if stage != "fit" and not found.head_loaded:
            raise CheckpointError(f"model.weights: {weights} does not know these {len(self.class_names)} classes; "
                                  "train on them first, or give a checkpoint with --ckpt_path")  # fmt: skip
        self.is_trained = found.head_loaded
        rank_zero_info(found.message)
        if found.head_loaded and (places := sorted_as_texts(self.class_names)):
            rank_zero_info(f"model.weights: its classes have their own order, and those of the data are numbers sorted as texts, "
                           f"{places}; sort them by value with --data.class_order natural")  # fmt: skip
        for name, theirs in (("mean", found.mean), ("std", found.std)):
            if list(theirs) != self.hparams[name]:
                rank_zero_info(f"model.{name}: {self.hparams[name]}; the weights were trained with {list(theirs)}")

    def _check_train_size(self) -> None:
        size = getattr(data_of(self.trainer), "train_size", self.image_size)
        if size != self.image_size:
            try:
                with torch.no_grad():
                    self.network.eval()(self.network.head.weight.new_zeros(1, 3, size, size))
            except (RuntimeError, AssertionError):
                raise ConfigError(f"data.train_size: {self.hparams['backbone']} takes images of {self.image_size} "
                                  f"pixels alone; leave it out") from None  # fmt: skip
            self.network.train()

    def lr_scale(self, name: str) -> float:
        """See `FineTuning.layer_decay`."""
        return self.fine_tuner.lr_scale(name.removeprefix("network."))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As torch's; older checkpoints have a temperature of 1, and class weights that are given are not a file's."""
        own: dict[str, Any] = {"temperature": torch.tensor(1.0)}
        theirs = dict(state_dict)
        if self._balanced:
            own["loss_weights"] = self.loss_weights
        else:
            theirs.pop("loss_weights", None)
        return super().load_state_dict(own | theirs, strict, assign)

    # ---- training and evaluation

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (B, K), of images (B, 3, S, S) uint8, or float in 0..255."""
        normalized = self.normalize(images)
        return self.network(normalized.to(self.network.head.weight.dtype))  # of a network that is all in 16 bits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        if self.adversarial:
            batch = batch._replace(images=self._moved(batch))
        loss, logits = self._shared_step(batch)
        right = mixed_mean(logits.detach().argmax(1), batch, lambda guess, labels: (guess == labels).float())
        self.count_batch(len(batch.labels), loss, accuracy=right.mean())
        return loss

    def _moved(self, batch: Batch) -> Tensor:
        """The images where the network likes them least; it counts and learns nothing from looking."""
        with self.passing_again():
            count = len(batch.labels)  # the sum: a mean is too small for 16-bit gradients
            return self.adversarial(lambda images: count * self._loss(self(images), batch), batch.images)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Adds one batch to the validation metrics; its `logits` (B, K) are for who watches."""
        return {"logits": self._evaluation_step(batch, "val")}

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Likewise of the test metrics."""
        return {"logits": self._evaluation_step(batch, "test")}

    def _evaluation_step(self, batch: Batch, stage: str) -> Tensor:
        """Adds a batch to the metrics; returns its logits."""
        fitting = self.trainer.state.fn == "fit"
        loss, logits = self._shared_step(batch, None if fitting else self.tta)
        # a weighted cross-entropy is divided by the weights of its samples, not by their number
        weight = len(batch.labels) if self.loss_weights is None else self.loss_weights[batch.labels].sum()
        temperature = None if fitting else self.temperature
        self.metrics[f"{stage}_metrics"].update(loss, weight, logits, batch.labels, temperature)
        return logits

    def _shared_step(self, batch: Batch, views: Views | None = None) -> tuple[Tensor, Tensor]:
        """Mean loss and logits (B, K)."""
        logits = mean_logits(self, batch.images, views)
        return self._loss(logits, batch), logits

    def _loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy; of a mixed image, with both labels by their shares."""
        losses = mixed_mean(
            logits,
            batch,
            lambda logits, labels: functional.cross_entropy(
                logits, labels, weight=self.loss_weights, label_smoothing=self.label_smoothing, reduction="none"
            ),
        )
        if self.loss_weights is None:
            return losses.mean()
        weights = mixed_mean(self.loss_weights, batch, lambda weights, labels: weights[labels])
        return losses.sum() / weights.sum()

    def on_validation_epoch_end(self) -> None:
        """Finds the temperature while training, and records the validation metrics."""
        self._record_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Records the test metrics."""
        self._record_metrics("test")

    def metric_names(self) -> set[str]:
        """See `Task`."""
        probe, num_classes = SplitScores(len(self.class_names)), len(self.class_names)
        probe.update(torch.zeros(()), 1.0, torch.zeros(1, num_classes), torch.zeros(1, dtype=torch.long), None)
        names = {f"val/{name}" for name in probe.compute(calibrated=False)}
        return super().metric_names() | names | {"val/temperature", "train/accuracy"}

    def _record_metrics(self, stage: str) -> None:
        metrics, fitting = self.metrics[f"{stage}_metrics"], self.trainer.state.fn == "fit"
        values = {f"{stage}/{name}": value for name, value in metrics.compute(calibrated=not fitting).items()}
        if fitting:
            self.temperature.copy_(metrics.temperature.compute())
            values[f"{stage}/temperature"] = self.temperature.item()
        self.record(values)
        self.outcome = metrics.outcome(calibrated=not fitting)
        if not fitting:
            per_class = dict(zip(self.class_names, self.outcome.class_accuracy.tolist(), strict=True))
            self.results |= {f"{stage}/class_accuracy/{name}": value for name, value in per_class.items()}
        metrics.reset()

    # ---- prediction

    def probabilities(self, images: Tensor) -> Tensor:
        """Calibrated probabilities, (B, K) float32, of images (B, 3, S, S) uint8."""
        return (mean_logits(self, images, self.tta).float() / self.temperature).softmax(1)

    def answers(self, images: Tensor) -> list[dict[str, Any]]:
        """See `Task`: `label`, `probability`, and the five best in order."""
        values, classes = self.probabilities(images).topk(min(5, len(self.class_names)))
        answers = []
        for row, indices in zip(values.tolist(), classes.tolist(), strict=True):
            best = [[self.class_names[c], value] for c, value in zip(indices, row, strict=True)]
            answers.append({"label": best[0][0], "probability": best[0][1], "top5": best})
        return answers

    def check_data(self, data: Any) -> None:
        """See `Task`: the classes are the same."""
        if list(names := getattr(data, "class_names", self.class_names)) != self.class_names:
            odd = str(sorted(set(names) ^ set(self.class_names)) or "their order")
            odd = odd if len(odd) <= 80 else odd[:77] + "..."
            raise DataError(f"data: its classes are not the checkpoint's; they differ in {odd}")

    def checked_batch(self, batch: Any) -> Batch:
        """See `Task`: images with labels."""
        return as_batch(batch, self.image_size, None if self.trainer.predicting else len(self.class_names))


def _class_factors(weights: str | list[float] | dict[str, float] | None, class_names: Sequence[str]) -> Tensor | None:
    """The factor of each class's loss, (K,) float32; ones where they are to be balanced."""
    if not weights:
        return None
    if isinstance(weights, str):
        return torch.ones(len(class_names))
    if isinstance(weights, dict):
        for name in weights:
            if name not in class_names:
                raise ConfigError(f"model.class_weights: there is no class '{name}'; {did_you_mean(name, class_names)}")
        weights = [weights.get(name, 1.0) for name in class_names]
    if len(weights) != len(class_names):
        raise ConfigError(f"model.class_weights: {len(weights)} numbers for {len(class_names)} classes")
    if not (all(0 <= weight < math.inf for weight in weights) and any(weights)):
        raise ConfigError(f"model.class_weights: must be at least 0, finite, and not all 0; got {weights}")
    return torch.tensor(weights, dtype=torch.float32)


def mixed_mean(values: Tensor, batch: Batch, measure: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`measure(values, labels)`, (B,); of mixed images the mean over both labels by their shares."""
    own = measure(values, batch.labels)
    if batch.mixed is None:
        return own
    return torch.lerp(measure(values, batch.mixed.labels), own, batch.mixed.share)
