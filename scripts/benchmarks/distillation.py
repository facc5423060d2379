"""What a teacher costs a student's training step."""

from __future__ import annotations

import logging
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.speed import StepTimer
from benchmarks.timing import Row, best_of
from lightning.pytorch import Trainer
from torch.utils.flop_counter import FlopCounterMode

from project.data.augmentation import Augmentation
from project.data.base import ImageDataModule
from project.data.samples import Samples, Split
from project.models import build_backbone
from project.runs.checkpoints import SCHEMA
from project.tasks import Classifier, Distiller

_PAIRS = (("resnet56", "resnet20"), ("wrn_40_2", "wrn_16_2"))
_BATCH, _STEPS, _ROUNDS = 64, 5, 6
_CLASSES = [str(label) for label in range(100)]


class _Noise(ImageDataModule):
    """As many batches as are timed, of the shape of CIFAR-100."""

    class_names = _CLASSES

    def load_splits(self) -> dict[Split, Samples]:
        random = np.random.default_rng(0)
        counts: dict[Split, int] = {"train": _BATCH * (_STEPS + 1), "val": 8}
        return {
            split: Samples(random.integers(0, 256, (count, 32, 32, 3), np.uint8), np.arange(count) % 100, split)
            for split, count in counts.items()
        }


def measure_distillation() -> list[Row]:
    """A student's step alone, with a live teacher and with its kept answers, as ratios; batches of 64, one thread."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    rows = []
    for teacher, student in _PAIRS:
        with tempfile.TemporaryDirectory() as folder:
            source = _teacher_checkpoint(teacher, Path(folder))
            options: dict[str, Any] = {"teacher": source, "allowed_drop": 1.0, "backbone": student}
            _fit(Distiller(_CLASSES, 32, **options), folder)  # fills the cache
            times = best_of(
                _ROUNDS,
                {
                    "plain": partial(_fit_new, folder, Classifier, backbone=student),
                    "live": partial(_fit_new, folder, Distiller, cache=False, **options),
                    "kept": partial(_fit_new, folder, Distiller, **options),
                },
            )
        share = _flops(teacher) / (3 * _flops(student))
        rows.append(
            {
                "teacher": teacher,
                "student": student,
                "plain ms/step": round(1e3 * times["plain"], 1),
                "live / plain": round(times["live"] / times["plain"], 3),
                "expected from FLOPs": round(1 + share, 3),
                "measured / expected": round(times["live"] / times["plain"] / (1 + share), 3),
                "kept / plain": round(times["kept"] / times["plain"], 3),
            }
        )
    return rows


def _teacher_checkpoint(name: str, folder: Path) -> str:
    """Of random weights."""
    path, task = str(folder / "teacher.ckpt"), Classifier(_CLASSES, 32, name)
    facts = {"task": "Classifier", "schema": SCHEMA, "hyper_parameters": dict(task.hparams)}
    torch.save(facts | {"state_dict": task.state_dict()}, path)
    return path


def _fit_new(folder: str, kind: type[Classifier], **options: Any) -> float:
    return _fit(kind(_CLASSES, 32, **options), folder)


def _fit(task: Classifier, folder: str) -> float:
    """The median time of a step, in seconds."""
    StepTimer.steps.clear()
    data = _Noise(image_size=32, batch_size=_BATCH, augment=Augmentation(crop=4, flip=True), cache_dir=folder)
    Trainer(
        accelerator="cpu",
        devices=1,
        precision="32-true",
        max_epochs=1,
        limit_val_batches=0,
        callbacks=[StepTimer()],
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(task, data)
    return statistics.median(StepTimer.steps)


def _flops(name: str) -> int:
    """Of a network's pass over one image."""
    network = build_backbone(name, len(_CLASSES), 32).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 32, 32))
    return counter.get_total_flops()
