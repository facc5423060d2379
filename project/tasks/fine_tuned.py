"""A task with a backbone, which may begin with what the images say, and learn part by part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor
from torch.optim import Optimizer

from project.data.base import ImageDataModule
from project.errors import ConfigError
from project.models import Backbone
from project.models.normalize import Normalize
from project.runs.schema import Schema
from project.runs.undeclared import data_of
from project.tasks.base import Task
from project.tasks.fine_tuning import FineTuner, FineTuning

_LOOKED_AT = 5000  # images that weights are computed from


class FineTunedTask(Task):
    """Freezes and unfreezes what its `fine_tuner`, which a subclass makes, says at each epoch."""

    fine_tuner: FineTuner
    normalize: Normalize

    def setup(self, stage: str) -> None:
        """See `Backbone.initialize_from`: once, when a run begins; weights that are given take the place of these."""
        if stage == "fit" and self.trainer.ckpt_path is None:
            for module in self.modules():
                if isinstance(module, Backbone):
                    module.initialize_from(self._training_images())
        super().setup(stage)

    def check_resumable(self, earlier: dict[str, Any]) -> None:
        """See `Task`: the same parts learn, in the same groups."""
        super().check_resumable(earlier)
        options = earlier.get("fine_tuning") or {}
        self.fine_tuner.check_resumable(Schema(build=True).value(options, FineTuning, "model.fine_tuning"))

    def _training_images(self) -> Iterator[Tensor]:
        """The same in each process; on the host, since nothing is on its device yet."""
        data = data_of(self.trainer)
        if not isinstance(data, ImageDataModule):
            raise ConfigError("model.backbone: its first weights follow from the training images, which only a datamodule "
                              "gives before training; give one: datamodule=data")  # fmt: skip
        for batch in data.batches_in_order("train", torch.device("cpu"), _LOOKED_AT):
            yield self.normalize(batch.images)

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
