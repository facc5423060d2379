"""The first batch as the network sees it."""

from __future__ import annotations

import textwrap
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from project.callbacks.pictures import DrawingTime, summary_writer

_COUNT, _COLUMNS = 32, 18


class TrainingBatch(Callback):
    """Shows the first training batch of a start, after augmentation, with its labels or captions.

    A mixed image has both labels with their shares. Where batches hold features in the place of images, there is nothing
    to show.

    Args:
        time: what drawing it takes is counted here.
    """

    def __init__(self, time: DrawingTime) -> None:
        self.time = time
        self._shown = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The next batch is the first."""
        self._shown = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Draws it."""
        if self._shown:
            return
        self._shown = True
        writer = summary_writer(trainer)
        if writer is None or batch.images.dtype != torch.uint8:
            return
        from project.analysis.figures import image_figure
        from project.analysis.style import to_pixels

        with self.time.drawing():
            labels = _captions(pl_module, batch) if hasattr(batch, "tokens") else _labels(pl_module, batch)
            figure = image_figure(batch.images[:_COUNT].cpu(), labels, "First training batch, as the network sees it")
            writer.add_image("images/training_batch", to_pixels(figure), trainer.global_step, dataformats="HWC")


def _labels(pl_module: Any, batch: Any) -> list[str]:
    names = [
        textwrap.shorten(pl_module.class_names[label], _COLUMNS, placeholder="…") for label in _first(batch.labels)
    ]
    if batch.mixed is None:
        return names
    others = [pl_module.class_names[label] for label in _first(batch.mixed.labels)]
    mixed = zip(names, others, _first(batch.mixed.share), strict=True)
    return [f"{share:.2f} {name}\n{1 - share:.2f} {other}" for name, other, share in mixed]


def _first(column: Tensor) -> list[Any]:
    return column[:_COUNT].tolist()


def _captions(pl_module: Any, batch: Any) -> list[str]:
    """The first caption of each image, in the words that the network knows."""
    words = map(pl_module.vocabulary.decode, _first(batch.tokens[:, 0]))
    texts = [pl_module.readable(" ".join(each)) for each in words]
    return ["\n".join(textwrap.wrap(text, _COLUMNS, max_lines=3, placeholder="…")) for text in texts]
