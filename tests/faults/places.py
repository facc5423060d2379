"""What the runs of these tests have in them: places to stand still at, until the test has done its harm from outside.

And a network whose numbers a white image spoils, where the environment asks for it.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import torch
from lightning.pytorch import Callback
from torch import Tensor, nn

from project.models import BACKBONES, Backbone


class _Spoiled(torch.autograd.Function):
    """Leaves numbers as they are, and makes their gradients `value` where `rows` says so."""

    @staticmethod
    def forward(ctx, x, rows, value):
        ctx.save_for_backward(rows)
        ctx.value = value
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        (rows,) = ctx.saved_tensors
        return gradient.masked_fill(rows, ctx.value), None, None


class Trap(nn.Module):
    """Spoils the numbers of white images as the environment's `TRAP` says: `loss nan`, `gradient inf` and so on."""

    def __init__(self) -> None:
        super().__init__()
        self.what, value = os.environ.get("TRAP", "nothing 0").split()
        self.value = float(value)

    def forward(self, x: Tensor, images: Tensor) -> Tensor:
        white = images.amin((1, 2, 3), keepdim=True) > 1.9  # all channels of a normalised white image are above it
        if self.what == "loss":
            return x.masked_fill(white, self.value)
        return _Spoiled.apply(x, white, self.value) if self.what == "gradient" else x


class First(nn.Sequential):
    """A stage with a trap behind it."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.trap = Trap()

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for layer in list(self)[:-1]:
            x = layer(x)
        return self.trap(x, images)


def dropout_net(num_classes: int, image_size: int) -> Backbone:
    """Two small stages with batch norm and with dropout, whose draws show when the random state is not restored."""

    def layers(width: int) -> list[nn.Module]:
        return [nn.Conv2d(width, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2)]

    stages = {"first": First(*layers(3)), "second": nn.Sequential(*layers(8))}
    return Backbone(stages, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 8, num_classes)


BACKBONES["dropout_net"] = dropout_net


class PauseAt(Callback):
    """Stops its process with SIGSTOP at each place that the environment's `PAUSE_AT` lists, once.

    `train 7`: before the batch of step 7. `update 7`: in it, after the gradients. `validate 7`: at the second batch of the
    first validation after 7 steps. `epoch 1`: at the beginning of epoch 1. `end 1`: at its end, before it is saved.
    `test 1`, `predict 1`: at the second batch. With `PAUSE_RANK`, only that one of several processes stops.
    """

    def __init__(self) -> None:
        self.places = [tuple(place.split()) for place in os.environ.get("PAUSE_AT", "").split(",")]
        if os.environ.get("PAUSE_RANK", "0") != os.environ.get("LOCAL_RANK", "0"):
            self.places = []

    def _reach(self, name: str, number: int) -> None:
        for place in self.places:
            if (
                place
                and place[0] == name
                and (number == int(place[1]) or (name == "validate" and number > int(place[1])))
            ):
                self.places.remove(place)
                os.kill(os.getpid(), signal.SIGSTOP)
                return

    def on_train_epoch_start(self, trainer, pl_module):
        self._reach("epoch", trainer.current_epoch)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._reach("train", trainer.global_step)

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self._reach("update", trainer.global_step)

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 1:
            self._reach("validate", trainer.global_step)

    def on_train_epoch_end(self, trainer, pl_module):
        self._reach("end", trainer.current_epoch)

    def on_test_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self._reach("test", batch_idx)

    def on_predict_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self._reach("predict", batch_idx)


class SeenSamples(Callback):
    """Writes a line per batch to a file per process in the environment's `SEEN`: step, epoch, rate and samples."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        place = Path(os.environ["SEEN"]) / f"{trainer.global_rank}-{os.getpid()}.jsonl"
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        with open(place, "a", encoding="utf-8") as file:
            row = trainer.global_step, trainer.current_epoch, rate, batch.indices.tolist()
            file.write(json.dumps(row) + "\n")


def explode(*args, **kwargs):
    """What a callback that a stranger's checkpoint names would call."""
    os.mkdir("exploded")
