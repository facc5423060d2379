"""How fast a run is, and what it waits for."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from project.callbacks.pictures import latest_step
from project.runs.loggers import record_costs
from project.runs.undeclared import is_logged

_GIB = 2**30


class Speed(Callback):
    """Shows training images a second, the share of the time in which the loader is waited for, and the peak of memory.

    At every `log_every_n_steps` and at an epoch's end, of the time since the last one, without validations. The memory
    is that of the GPU, and without one the process's, in GiB. In TensorBoard alone, since no resumed run repeats them.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._images, self._busy, self._waiting = 0, 0.0, 0.0
        self._since = time.monotonic()
        self._step = -1

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What was done between two epochs is no training."""
        self._lap()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """The batch has come."""
        self._waiting += self._lap()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The batch is done."""
        self._busy += self._lap()
        self._images += len(batch.images) * trainer.world_size
        # of a step that is logged the loss was waited for, so the clock is right also where a GPU works on its own
        step = trainer.global_step
        if step and step != self._step and is_logged(trainer, step):  # once, where gradients are accumulated
            self._step = step
            self._record(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            if pl_module.device.type == "cuda":
                torch.cuda.synchronize(pl_module.device)  # as the task does here to look at the loss
            self._busy += self._lap()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts it again."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._lap()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows the rest of the epoch."""
        self._record(trainer)

    def _lap(self) -> float:
        now = time.monotonic()
        since, self._since = self._since, now
        return now - since

    def _record(self, trainer: Trainer) -> None:
        seconds = self._busy + self._waiting
        if self._images and trainer.is_global_zero:
            record_costs(
                trainer,
                {
                    "speed/images_per_second": self._images / seconds,
                    "speed/waiting": self._waiting / seconds,
                    "speed/memory_gib": _peak_memory(trainer.strategy.root_device) / _GIB,
                },
                latest_step(trainer),
            )
        self._images, self._busy, self._waiting = 0, 0.0, 0.0


def _peak_memory(device: torch.device) -> int:
    """The most bytes that have been in use at once."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
