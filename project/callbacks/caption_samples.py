"""The same few validation images after every epoch, with what the captioner says of them."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from project.analysis.caption_pictures import caption_picture

_COUNT = 8


class CaptionSamples(Callback):
    """Shows in TensorBoard the first validation images with caption and reference: its slider shows the learning.

    Does nothing where a task's validation step gives no captions. Where batches hold features in the place of images,
    there are texts alone.
    """

    def __init__(self) -> None:
        self._samples: list[tuple[Any, str, list[str]]] = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps the first images."""
        if not isinstance(outputs, dict) or "captions" not in outputs or not trainer.is_global_zero:
            return
        for place in range(min(_COUNT - len(self._samples), len(batch.images))):
            image = None
            if not batch.images.is_floating_point():
                image = batch.images[place].permute(1, 2, 0).contiguous().cpu().numpy()
            self._samples.append((image, outputs["captions"][place], batch.references[place]))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws them."""
        samples, self._samples = self._samples, []
        if trainer.sanity_checking or not samples:
            return
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                step = max(trainer.global_step - 1, 0)
                for number, (image, caption, references) in enumerate(samples):
                    if image is not None:
                        picture = torch.from_numpy(caption_picture(image, caption, references).copy())
                        logger.experiment.add_image(f"captions/{number}", picture, step, dataformats="HWC")
                logger.experiment.add_text("captions", _table(samples), step)


def _table(samples: list[tuple[Any, str, list[str]]]) -> str:
    """The texts as Markdown."""
    rows = [
        f"| {number} | {_cell(caption)} | {'<br>'.join(map(_cell, references))} |"
        for number, (_, caption, references) in enumerate(samples)
    ]
    return "\n".join(["| image | caption | references |", "| --- | --- | --- |", *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
