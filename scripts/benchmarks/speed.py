"""What the loaders, the training loop and the arithmetic cost."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from functools import partial
from typing import Any, ClassVar

import torch
from benchmarks.timing import Row, best_of, seconds
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image
from torch import nn
from torchvision import transforms
from torchvision.transforms import v2

from project.cli import main as project_main
from project.data import Digits
from project.data.augmentation import Augmentation
from project.data.loaders import ResidentLoader
from project.data.order import EvaluationOrder, TrainingOrder
from project.data.store import Store
from project.models import build_backbone
from project.models.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize
from project.tasks import Classifier

_CPU = torch.device("cpu")


def measure_input() -> list[Row]:
    """Crop, flip and normalise at 32 × 32, images/s on one core, against per-sample transforms."""
    torch.set_num_threads(1)
    pixels, few = _pixels(), 2048
    pil_images = [Image.fromarray(image.numpy()) for image in pixels[:few]]
    tensors = [image.permute(2, 0, 1).contiguous() for image in pixels[:few]]
    pil = transforms.Compose(
        [
            transforms.RandomCrop(32, 4, padding_mode="reflect"),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    per_sample_v2 = v2.Compose(
        [
            v2.RandomCrop(32, 4, padding_mode="reflect"),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    batched = _resident(pixels, Augmentation(crop=4, flip=True))
    gathered = _resident(pixels, None)

    times = best_of(
        5,
        {
            "PIL, per sample": lambda: seconds(lambda: torch.stack([pil(x) for x in pil_images])) / few,
            "torchvision v2, per sample": lambda: (
                seconds(lambda: torch.stack([per_sample_v2(x) for x in tensors])) / few
            ),
            "batched, parameters per sample": lambda: seconds(lambda: _consume(batched)) / len(pixels),
            "gather and normalise alone": lambda: seconds(lambda: _consume(gathered)) / len(pixels),
        },
    )
    return _against_pil(times)


def measure_augment() -> list[Row]:
    """TrivialAugmentWide and MixUp at 32 × 32, images/s on one core, against per-sample PIL and MixUp of the batch."""
    torch.set_num_threads(1)
    pixels, few = _pixels(), 2048
    pil_images = [Image.fromarray(image.numpy()) for image in pixels[:few]]
    normalize = Normalize(list(IMAGENET_MEAN), list(IMAGENET_STD))
    trivial = transforms.Compose([transforms.TrivialAugmentWide(), transforms.PILToTensor()])
    mixup = v2.MixUp(alpha=0.2, num_classes=10)

    def per_sample(mixes: bool) -> None:
        for first in range(0, few, 512):
            images = normalize(torch.stack([trivial(image) for image in pil_images[first : first + 512]]))
            if mixes:
                mixup(images, torch.zeros(512, dtype=torch.int64))

    batched = _resident(pixels, Augmentation(policy="trivial"))
    mixing = _resident(pixels, Augmentation(policy="trivial", mixup=0.2))
    times = best_of(
        5,
        {
            "PIL, per sample": lambda: seconds(lambda: per_sample(False)) / few,
            "the same and MixUp of the batch": lambda: seconds(lambda: per_sample(True)) / few,
            "batched, parameters per sample": lambda: seconds(lambda: _consume(batched)) / len(pixels),
            "the same and MixUp, shares per sample": lambda: seconds(lambda: _consume(mixing)) / len(pixels),
        },
    )
    return _against_pil(times)


def _pixels() -> torch.Tensor:
    return torch.randint(256, (16384, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _resident(pixels: torch.Tensor, augmentation: Augmentation | None) -> ResidentLoader:
    store = Store(pixels, torch.zeros(len(pixels), dtype=torch.int64), [])
    order = TrainingOrder(len(pixels), 512, 0) if augmentation else EvaluationOrder(len(pixels), 512)
    return ResidentLoader(store, order, _CPU, 0, augmentation)


def _consume(loader: ResidentLoader) -> None:
    normalize = Normalize(list(IMAGENET_MEAN), list(IMAGENET_STD))
    for batch in loader:
        normalize(batch.images)


def _against_pil(times: dict[str, float]) -> list[Row]:
    baseline = times["PIL, per sample"]
    return [{"pipeline": k, "images/s": round(1 / t), "times PIL": round(baseline / t, 1)} for k, t in times.items()]


class StepTimer(Callback):
    """Times from the end of one training batch to the end of the next, within an epoch."""

    steps: ClassVar[list[float]] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._last: float | None = None

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        now = time.perf_counter()
        if self._last is not None:
            StepTimer.steps.append(now - self._last)
        self._last = now


def measure_trainer() -> list[Row]:
    """`python -m project fit` against a plain loop: the same network, data, batches, optimizer and schedule.

    Between them stands Lightning's own loop, without a logger, checkpoints, metrics or a callback but the clock.
    """
    torch.set_num_threads(2)
    rows = []
    for label, image_size, batch_size, width, epochs in (
        ("steps of tens of milliseconds", 32, 64, 32, 3),
        ("tiny steps, all overhead", 8, 8, 4, 3),
    ):
        times = best_of(
            5,
            {
                "plain": partial(_plain_loop, image_size, batch_size, width, epochs),
                "Lightning": partial(_bare_trainer, image_size, batch_size, width, epochs),
                "fit": partial(_fit, image_size, batch_size, width, epochs),
            },
        )
        rows.append(
            {
                "case": label,
                "plain ms/step": round(1e3 * times["plain"], 3),
                "Lightning's ms/step": round(1e3 * times["Lightning"], 3),
                "fit ms/step": round(1e3 * times["fit"], 3),
                "ratio": round(times["fit"] / times["plain"], 3),
                "added ms/step": round(1e3 * (times["fit"] - times["plain"]), 3),
            }
        )
    return rows


_MODEL: dict[str, Any] = {"backbone": "small_resnet", "label_smoothing": 0.1}


def _pieces(image_size: int, batch_size: int, width: int) -> tuple[Classifier, ResidentLoader, TrainingOrder]:
    torch.manual_seed(0)
    data = Digits(image_size=image_size, batch_size=batch_size, augment=Augmentation(shift=1))
    task = Classifier(data.class_names, image_size, backbone_options={"width": width}, **_MODEL)
    store = data._store("train")
    order = TrainingOrder(len(store.labels), batch_size, 0)
    return task, ResidentLoader(store, order, _CPU, 0, data.augment), order


def _loss(task: Classifier, batch: Any) -> torch.Tensor:
    return nn.functional.cross_entropy(task(batch.images), batch.labels, label_smoothing=0.1)


def _plain_loop(image_size: int, batch_size: int, width: int, epochs: int) -> float:
    """The median time of a step, in seconds."""
    task, loader, order = _pieces(image_size, batch_size, width)
    optimizer = task.make_optimizer(task.parameters())
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer)
    task.train()
    steps = []
    for epoch in range(epochs):
        order.set_epoch(epoch)
        last = None
        for batch in loader:
            optimizer.zero_grad()
            _loss(task, batch).backward()
            optimizer.step()
            schedule.step()
            now = time.perf_counter()
            if last is not None:
                steps.append(now - last)
            last = now
    return statistics.median(steps)


class _Bare(LightningModule):
    """The least that Lightning's loop asks for."""

    def __init__(self, task: Classifier) -> None:
        super().__init__()
        self.task = task

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return _loss(self.task, batch)

    def configure_optimizers(self) -> Any:
        optimizer = self.task.make_optimizer(self.task.parameters())
        schedule = {"scheduler": torch.optim.lr_scheduler.LinearLR(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}


def _bare_trainer(image_size: int, batch_size: int, width: int, epochs: int) -> float:
    StepTimer.steps.clear()
    task, loader, _ = _pieces(image_size, batch_size, width)
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", callbacks=[StepTimer()], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(_Bare(task), train_dataloaders=loader)
    return statistics.median(StepTimer.steps)


def _fit(image_size: int, batch_size: int, width: int, epochs: int) -> float:
    StepTimer.steps.clear()
    with tempfile.TemporaryDirectory() as root:
        options = {
            "model": "Classifier",
            "model.label_smoothing": 0.1,
            "model.backbone_options": json.dumps({"width": width}),
            "data": "Digits",
            "data.image_size": image_size,
            "data.batch_size": batch_size,
            "data.augment.shift": 1,
            "trainer.max_epochs": epochs,
            "trainer.precision": "32-true",
            "trainer.accelerator": "cpu",
            "trainer.default_root_dir": root,
            "trainer.enable_model_summary": "false",
            "trainer.callbacks": json.dumps([{"class_path": f"{__name__}.StepTimer"}]),
            "progress": "none",
        }
        project_main(["fit", *(text for name, value in options.items() for text in (f"--{name}", str(value)))])
    return statistics.median(StepTimer.steps)


def measure_precision() -> list[Row]:
    """Training steps in the default precision and layout against 32 bits and channels first, images/s, two threads."""
    torch.set_num_threads(2)
    rows = []
    for name, batch_size in (("small_resnet", 256), ("resnet18", 64)):
        times = best_of(
            3,
            {
                "32 bits, channels first": partial(_step, name, batch_size, False, False),
                "32 bits, channels last": partial(_step, name, batch_size, True, False),
                "bfloat16, channels last": partial(_step, name, batch_size, True, True),
            },
        )
        baseline = times["32 bits, channels first"]
        rows += [
            {"network": name, "arithmetic": k, "images/s": round(batch_size / t), "ratio": round(baseline / t, 2)}
            for k, t in times.items()
        ]
    return rows


def _step(name: str, batch_size: int, channels_last: bool, bfloat16: bool) -> float:
    """The best time of a step of SGD on images of 32 × 32, in seconds."""
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = build_backbone(name, 10, 32).to(memory_format=layout)
    images = torch.randn(batch_size, 3, 32, 32).contiguous(memory_format=layout)
    labels = torch.randint(10, (batch_size,))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()

    step()
    return min(seconds(step) for _ in range(5))
