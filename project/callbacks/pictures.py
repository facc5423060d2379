"""When pictures are drawn, and where they go."""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from project.runs.trackers import Tracker

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def summary_writer(trainer: Trainer) -> SummaryWriter | None:
    """TensorBoard's writer in the run's first process; None in others, and where nothing is written."""
    if not trainer.is_global_zero:
        return None
    writer = next((logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)), None)
    trackers = [logger for logger in trainer.loggers if isinstance(logger, Tracker)]
    shared: Any = _Shared(writer, trackers) if trackers and writer is not None else writer
    return shared


class _Shared:
    """TensorBoard's writer, whose pictures go to trackers, too."""

    def __init__(self, writer: SummaryWriter, trackers: list[Tracker]) -> None:
        self._writer, self._trackers = writer, trackers

    def add_image(self, tag: str, pixels: np.ndarray, step: int, dataformats: str) -> None:
        self._writer.add_image(tag, pixels, step, dataformats=dataformats)
        for tracker in self._trackers:
            tracker.log_picture(tag, pixels, step)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)


def latest_step(trainer: Trainer) -> int:
    """The step of what an epoch's end has found: steps are counted from zero, so after n of them it is n - 1."""
    return max(trainer.global_step - 1, 0)


class DrawingTime:
    """Keeps the time spent on pictures below a share of the whole; all that draw in a run share one.

    Args:
        share: of the training time, in 0..1.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.spent = 0.0
        self.start()

    def start(self) -> None:
        """Training begins now, and the next pictures are its first."""
        self._started = time.monotonic()
        self._step = -1
        self._due = True

    def is_due(self, step: int) -> bool:
        """Whether there is time to draw what a step has found: always in the beginning, the same for all that ask."""
        if step != self._step:
            self._due = self._step == -1 or self.spent < self.share * (time.monotonic() - self._started)
            self._step = step
        return self._due

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """What happens inside it is drawing. Letters that the font lacks are boxes, and no reason for a warning."""
        began = time.monotonic()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
            yield
        self.spent += time.monotonic() - began


class Pictures(Callback, ABC):
    """Draws what validations find: the first, the last, and of the others as many as there is time for.

    Which validation was the last is known only afterwards, so what it found is kept until the end of training. Where a
    task's validation step does not give what is needed, nothing is drawn.

    Args:
        time: shared by all that draw.
    """

    needs: ClassVar[str]
    """Which output of the validation step."""

    def __init__(self, time: DrawingTime) -> None:
        self.time = time
        self._undrawn_step: int | None = None

    @abstractmethod
    def forget(self) -> None:
        """Of the validation before; a new one begins."""

    @abstractmethod
    def collect(self, outputs: dict[str, Any], batch: Any) -> None:
        """Keeps what is shown of a batch of the first process, without waiting for the device."""

    @abstractmethod
    def draw(self, pl_module: LightningModule, writer: SummaryWriter, step: int) -> None:
        """Shows what the latest validation has found."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self.time.start()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins anew."""
        self.forget()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hands the batch on."""
        if trainer.is_global_zero and isinstance(outputs, dict) and self.needs in outputs:
            self.collect(outputs, batch)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws, if it is time."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self._undrawn_step = latest_step(trainer)
        if self.time.is_due(trainer.global_step):
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws what the last validation found, unless that was done."""
        if self._undrawn_step is not None:
            self._draw(trainer, pl_module)

    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._undrawn_step is not None and (writer := summary_writer(trainer)) is not None:
            with self.time.drawing():
                self.draw(pl_module, writer, self._undrawn_step)
        self._undrawn_step = None
