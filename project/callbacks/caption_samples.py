"""The same few validation images again and again, with what the captioner says of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from lightning.pytorch import LightningModule

from project.analysis.caption_pictures import caption_picture
from project.callbacks.pictures import DrawingTime, Pictures
from project.text import markdown

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_COUNT = 8


class _Sample(NamedTuple):
    """An image (S, S, 3) uint8 or, where batches hold features, none; attention maps (T, h, w) uint8, if it attends."""

    image: np.ndarray | None
    maps: np.ndarray | None
    caption: str
    references: list[str]


class CaptionSamples(Pictures):
    """Shows in TensorBoard the first validation images with caption and reference: its slider shows the learning.

    Beside an image stands where the network looked for each word. Where batches hold features in the place of images,
    there are texts alone.

    Args:
        time: see `Pictures`.
    """

    needs = "captions"

    def __init__(self, time: DrawingTime) -> None:
        super().__init__(time)
        self._samples: list[_Sample] = []

    def forget(self) -> None:
        """Forgets the captions of the validation before."""
        self._samples = []

    def collect(self, outputs: dict[str, Any], batch: Any) -> None:
        """Keeps the first images."""
        maps = outputs.get("attention_maps")
        for place in range(min(_COUNT - len(self._samples), len(batch.images))):
            image = None
            if not batch.images.is_floating_point():
                image = batch.images[place].permute(1, 2, 0).contiguous().cpu().numpy()
            looked = None if maps is None else maps[place].cpu().numpy()
            self._samples.append(_Sample(image, looked, outputs["captions"][place], batch.references[place]))

    def draw(self, pl_module: LightningModule, writer: SummaryWriter, step: int) -> None:
        """See the class."""
        task: Any = pl_module
        for number, (image, maps, caption, references) in enumerate(self._samples):
            if image is not None:
                texts = [*map(task.readable, (caption, *references))]
                picture = caption_picture(image, texts[0], texts[1:], maps, caption.split())
                writer.add_image(f"captions/{number}", picture, step, dataformats="HWC")
        if self._samples:
            writer.add_text("captions", _table(self._samples, task.readable), step)


def _table(samples: list[_Sample], readable: Callable[[str], str]) -> str:
    """The texts as Markdown."""
    rows = [
        f"| {number} | {markdown(caption)} | {'<br>'.join(map(markdown, references))} |"
        for number, (caption, *references) in enumerate(
            map(readable, (sample.caption, *sample.references)) for sample in samples
        )
    ]
    return "\n".join(["| image | caption | references |", "| --- | --- | --- |", *rows])
