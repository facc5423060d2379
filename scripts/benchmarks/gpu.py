"""What `fit` makes of a GPU: images/s against the network alone, and what its steps wait for."""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from benchmarks.timing import Row, best_of, seconds
from lightning.pytorch import Callback
from torch import nn

from project.cli import main as project_main
from project.data.base import ImageDataModule
from project.data.samples import Samples, Split
from project.models import build_backbone

_CLASSES = [str(label) for label in range(10)]
_WATCHED = (4, 8)  # between the beginnings of these batches waits are counted; none of them is logged


class GPUNoise(ImageDataModule):
    """Images of the size of CIFAR-10's.

    Args:
        images: how many to train on.
        **options: those of `ImageDataModule`.
    """

    class_names = _CLASSES

    def __init__(self, images: int = 51200, **options: Any) -> None:
        super().__init__(**options)
        self.images = images

    def load_splits(self) -> dict[Split, Samples]:
        """Noise."""
        random = np.random.default_rng(0)
        counts: dict[Split, int] = {"train": self.images, "val": 64}
        return {
            split: Samples(random.integers(0, 256, (count, 32, 32, 3), np.uint8), np.arange(count) % 10, split)
            for split, count in counts.items()
        }


class Meter(Callback):
    """Notes images/s of the last epoch, and how often a step waited for the GPU, as torch itself reports it."""

    images_per_second: ClassVar[float]
    waits_per_step: ClassVar[float]

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        _finish(pl_module.device)
        self._images, self._start = 0, time.perf_counter()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if pl_module.device.type == "cuda" and batch_idx == _WATCHED[0]:
            self._caught = warnings.catch_warnings(record=True)
            self._waits = self._caught.__enter__()
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
        if pl_module.device.type == "cuda" and batch_idx == _WATCHED[1]:
            torch.cuda.set_sync_debug_mode("default")
            self._caught.__exit__(None, None, None)
            found = [each for each in self._waits or [] if "synchronizing" in str(each.message)]
            Meter.waits_per_step = len(found) / (_WATCHED[1] - _WATCHED[0])
        self._images += len(batch.images)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        _finish(pl_module.device)
        Meter.images_per_second = self._images / (time.perf_counter() - self._start)


def measure_gpu() -> list[Row]:
    """Images/s of `fit` on a GPU, 512 at a time, against the network fed with one batch; waits of a step that is not logged."""
    return rows_on("cuda") if torch.cuda.is_available() else []


def rows_on(device: str, images: int = 51200, batch_size: int = 512, compiled: bool = True) -> list[Row]:
    """The rows on one device.

    Args:
        device: `cuda`, or `cpu` to try the script.
        images: of an epoch.
        batch_size: of a step.
        compiled: whether compiled networks are measured, too.
    """
    rows: list[Row] = []
    for network in ("small_resnet", "resnet18"):
        for precision in ("32-true", "bf16-mixed"):
            for compiles in (False, True) if compiled else (False,):
                plain = partial(_plain, network, precision, compiles, device, images, batch_size)
                fit = partial(_fit, network, precision, compiles, device, images, batch_size)
                times = best_of(3, {"plain": plain, "fit": fit})
                rows.append({
                    "network": network,
                    "precision": precision,
                    "compiled": compiles,
                    "network alone, images/s": round(images / times["plain"]),
                    "fit, images/s": round(images / times["fit"]),
                    "ratio": round(times["plain"] / times["fit"], 2),
                    "waits a step": Meter.waits_per_step if device == "cuda" else None,
                })  # fmt: skip
    return rows


def _plain(network: str, precision: str, compiles: bool, device: str, images: int, batch_size: int) -> float:
    """Seconds of an epoch of the network alone, channels-last, with SGD."""
    model: Any = build_backbone(network, 10, 32).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compiles:
        model = torch.compile(model)
    batch = torch.randn(batch_size, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch_size,), device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def epoch(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16-mixed"):
                loss = nn.functional.cross_entropy(model(batch), labels)
            loss.backward()
            optimizer.step()
        _finish(torch.device(device))

    epoch(3)
    return seconds(partial(epoch, images // batch_size))


def _fit(network: str, precision: str, compiles: bool, device: str, images: int, batch_size: int) -> float:
    """Seconds of the second epoch of `fit`, with crop and flip."""
    with tempfile.TemporaryDirectory() as root:
        options = {
            "model": "Classifier", "model.backbone": network, "model.compile": json.dumps(compiles),
            "data": f"{__name__}.GPUNoise", "data.images": images, "data.image_size": 32, "data.batch_size": batch_size,
            "data.augment.crop": 4, "data.augment.flip": "true", "trainer.max_epochs": 2, "trainer.precision": precision,
            "trainer.accelerator": device, "trainer.devices": 1, "trainer.default_root_dir": root,
            "trainer.enable_model_summary": "false", "trainer.log_every_n_steps": 1000, "trainer.limit_val_batches": 1,
            "watch.pictures": 0, "trainer.callbacks": json.dumps([{"class_path": f"{__name__}.Meter"}]),
            "progress": "none",
        }  # fmt: skip
        project_main(["fit", *(text for name, value in options.items() for text in (f"--{name}", str(value)))])
    return images / Meter.images_per_second


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
