"""A task with a backbone, which may begin with what the images say, and learn part by part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from project.data.base import ImageDataModule
from project.errors import ConfigError
from project.models import Backbone
from project.models.normalize import Normalize
from project.runs.schema import Schema
from project.runs.undeclared import data_of
from project.tasks.base import Task
from project.tasks.fine_tuning import FineTuner, FineTuning

ONE_VALUE = (
    "data.batch_size: a training batch has one image, and a batch norm that sees one position of it has no variance; choose a size "
    "that leaves no batch of one, a larger data.image_size, or model.fine_tuning.freeze_norms true"
)
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
        self._check_batch_norms()

    @torch.no_grad()
    def _check_batch_norms(self) -> None:
        """Refuses a training batch of one image where a batch norm that learns sees one position of it."""
        order = getattr(self.trainer.train_dataloader, "order", None)
        if order is None or min(map(len, order.batches())) > 1:
            return
        learning = {norm for norm in self.modules() if isinstance(norm, _BatchNorm) and norm.training}
        seen: dict[nn.Module, int] = {}
        hooks = [
            norm.register_forward_pre_hook(lambda norm, inputs: seen.update({norm: inputs[0][:, 0].numel()}))
            for norm in learning
        ]
        side = getattr(data_of(self.trainer), "train_size", self.image_size)
        for backbone in [module for module in self.modules() if isinstance(module, Backbone)]:
            weight = next(backbone.parameters())
            backbone.eval()  # so that nothing changes
            backbone.forward(torch.zeros(1, 3, side, side, device=weight.device, dtype=weight.dtype))
        for hook in hooks:
            hook.remove()
        self.train()
        if 1 in seen.values():
            raise ConfigError(ONE_VALUE)

    def on_train_epoch_start(self) -> None:
        """Freezes and unfreezes."""
        self.fine_tuner.set_epoch(self.current_epoch, save_work=self.trainer.world_size == 1)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Keeps the optimizer from what is frozen for now."""
        self.fine_tuner.drop_gradients()
