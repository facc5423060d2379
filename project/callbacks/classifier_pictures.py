"""What a classifier gets wrong, as pictures.

Shapes: B images of S × S pixels, K classes, N images kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from project.callbacks.pictures import DrawingTime, Pictures

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_COUNT = 24


class ClassifierPictures(Pictures):
    """Confusion, reliability and accuracy of each class as figures, and the images that the network is wrong about.

    The images are those of the first process's share: the mistakes that it is most sure of, and the images whose own
    class it gives the least probability.

    Args:
        time: see `Pictures`.
    """

    needs = "logits"

    def __init__(self, time: DrawingTime) -> None:
        super().__init__(time)
        self._mistakes, self._unlikely = _Highest(), _Highest()

    def forget(self) -> None:
        """Forgets the images of the validation before."""
        self._mistakes, self._unlikely = _Highest(), _Highest()

    def collect(self, outputs: dict[str, Any], batch: Any) -> None:
        """Keeps images, on the device."""
        probabilities = outputs["logits"].float().softmax(1)
        confidence, guess = probabilities.max(1)
        of_label = probabilities.gather(1, batch.labels[:, None])[:, 0]
        images = batch.images, batch.labels, guess, confidence, of_label
        self._mistakes.add(torch.where(guess == batch.labels, -torch.inf, confidence), *images)
        self._unlikely.add(-of_label, *images)

    def draw(self, pl_module: LightningModule, writer: SummaryWriter, step: int) -> None:
        """See the class."""
        from project.analysis.figures import class_figure, confusion_figure, image_figure, reliability_figure
        from project.analysis.figures.text import shortened
        from project.analysis.style import to_pixels

        if self._mistakes.columns is None:
            return
        task: Any = pl_module
        outcome, names = task.outcome, task.class_names
        figures = {
            "figures/reliability": reliability_figure(outcome.reliability),
            "figures/class_accuracy": class_figure(outcome.class_accuracy, names),
        }
        if outcome.confusion is not None:
            figures["figures/confusion"] = confusion_figure(outcome.confusion, names)
        for tag, title, kept in (
            ("images/mistakes", "Most confident mistakes", self._mistakes),
            ("images/unlikely", "Least probability of their own class", self._unlikely),
        ):
            scores, images, *facts = (column.cpu() for column in kept.columns or [])
            labels = [
                f"is {shortened(names[label], 11)}: {of_label:.2f}\nsaid {shortened(names[guess], 9)}: {confidence:.2f}"
                for label, guess, confidence, of_label in zip(*(column.tolist() for column in facts), strict=True)
            ]
            shown = int(scores.isfinite().sum())  # the rest are no mistakes
            figures[tag] = image_figure(images[:shown], labels[:shown], title if shown else "No mistakes")
        for tag, figure in figures.items():
            writer.add_image(tag, to_pixels(figure), step, dataformats="HWC")


class _Highest:
    """Of all batches the rows with the highest scores, in falling order: memory does not grow with the data."""

    def __init__(self) -> None:
        self.columns: list[Tensor] | None = None

    def add(self, scores: Tensor, *columns: Tensor) -> None:
        """Adds scores (B,) and columns (B, ...)."""
        rows = _highest([scores, *columns])
        if self.columns is not None:
            rows = _highest([torch.cat(both) for both in zip(self.columns, rows, strict=True)])
        self.columns = rows


def _highest(columns: list[Tensor]) -> list[Tensor]:
    places = columns[0].topk(min(_COUNT, len(columns[0]))).indices
    return [column[places] for column in columns]
