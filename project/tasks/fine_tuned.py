"""A task whose network is fine-tuned part by part."""

from __future__ import annotations

from typing import Self

from torch.optim import Optimizer

from project.tasks.base import Task
from project.tasks.fine_tuning import FineTuner


class FineTunedTask(Task):
    """Freezes and unfreezes what its `fine_tuner`, which a subclass makes, says at each epoch."""

    fine_tuner: FineTuner

    def train(self, mode: bool = True) -> Self:
        """As torch's; what is frozen stays in evaluation mode."""
        super().train(mode)
        if mode:
            self.fine_tuner.set_modes()
        return self

    def on_train_start(self) -> None:
        """Freezes what the epoch asks for, also where a run is resumed in the middle of it."""
        super().on_train_start()
        self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Freezes and unfreezes."""
        self.fine_tuner.set_epoch(self.current_epoch, save_work=self.trainer.world_size == 1)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Keeps the optimizer from what is frozen for now."""
        self.fine_tuner.drop_gradients()
