"""An exponential moving average of the weights: what is evaluated and saved, while the raw weights train on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from project.errors import CheckpointError, ConfigError
from project.runs.schema import Schema

_RAW = "raw_weights"


@dataclass(frozen=True)
class AveragingOptions:
    """The exponential moving average of a run's weights (Polyak and Juditsky 1992; Tarvainen and Valpola 2017).

    Args:
        decay: share of the old average that each update keeps, such as 0.999; without it there is no average. In the
            first updates n it is at most (1 + n) / (10 + n), so that the random beginning is soon forgotten.
        every: optimizer steps between updates.

    Raises:
        ConfigError: a value is out of its range.
    """

    decay: float | None = None
    every: int = 1

    def __post_init__(self) -> None:
        if self.decay is not None and not 0 <= self.decay < 1:
            raise ConfigError(f"ema.decay: must be at least 0 and below 1; got {self.decay}")
        if self.every < 1:
            raise ConfigError(f"ema.every: must be at least 1; got {self.every}")


class WeightAverage(Callback):
    """Keeps the average, and puts it in the network's place for validation, for checkpoints and at the end.

    It covers every parameter and the statistics of batch norms. A checkpoint's `state_dict` is the average, under the
    same names as without; the raw weights lie beside it, and resuming goes on with them.

    Args:
        options: see `AveragingOptions`.
    """

    def __init__(self, options: AveragingOptions) -> None:
        self.options = options
        self._average: dict[str, Tensor] = {}
        self._set_aside: dict[str, Tensor] | None = None
        self._restored: dict[str, Any] | None = None
        self._updates = 0
        self._step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins the average with the weights as they are, and takes a resumed run's raw weights back."""
        live = dict(averaged_tensors(pl_module))
        self._step = trainer.global_step
        if self.options.decay is not None:
            check_averageable("ema.decay", trainer, live)
            self._average = {name: tensor.detach().clone() for name, tensor in live.items()}
        if self._restored is not None:
            self._updates = self._restored["updates"]
            with torch.no_grad():
                fill(live, self._restored["weights"])
            self._restored = None

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Updates the average after every so many optimizer steps."""
        if not self._average or trainer.global_step == self._step or trainer.global_step % self.options.every:
            return
        self._step = trainer.global_step
        assert self.options.decay is not None, "there is an average"
        decay = min(self.options.decay, (1 + self._updates) / (10 + self._updates))
        self._updates += 1
        live = dict(averaged_tensors(pl_module))
        torch._foreach_lerp_(list(self._average.values()), [live[name] for name in self._average], 1 - decay)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The average is what is validated."""
        if self._average and trainer.state.fn == "fit":
            live = dict(averaged_tensors(pl_module))
            self._set_aside = {name: tensor.detach().clone() for name, tensor in live.items()}
            fill(live, self._average)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The raw weights train on."""
        if self._set_aside is not None:
            fill(dict(averaged_tensors(pl_module)), self._set_aside)
            self._set_aside = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What is left in memory is the average."""
        if self._average:
            fill(dict(averaged_tensors(pl_module)), self._average)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Puts the average in the weights' place, and the raw weights beside it."""
        if self._average:
            live = self._set_aside or dict(averaged_tensors(pl_module))
            raw = {name: live[name].detach().clone() for name in self._average}
            checkpoint[_RAW] = {"weights": raw, "updates": self._updates}
            checkpoint["state_dict"] = {**checkpoint["state_dict"], **self._average}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keeps the raw weights until training begins."""
        raw = checkpoint.get(_RAW)
        if raw is not None:
            updates = Schema().value(raw["updates"], int, "updates")
            self._restored = {"weights": tensors(raw["weights"]), "updates": updates}


def averaged_tensors(module: LightningModule) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and the statistics of batch norms, by their names in the state dictionary."""
    yield from module.named_parameters()
    for name, part in module.named_modules():
        if isinstance(part, _BatchNorm) and part.running_mean is not None and part.running_var is not None:
            yield f"{name}.running_mean", part.running_mean
            yield f"{name}.running_var", part.running_var


def tensors(values: Any) -> dict[str, Tensor]:
    """Named tensors of a checkpoint.

    Raises:
        ValueError: they are not.
    """
    if not isinstance(values, dict) or not all(isinstance(value, Tensor) for value in values.values()):
        raise ValueError("averaged weights are not named tensors")
    return values


@torch.no_grad()
def fill(live: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    """Copies `values` into the tensors of the same names."""
    try:
        for name, value in values.items():
            live[name].copy_(value)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"ckpt_path: its averaged weights do not fit the network: {error}") from None


def check_averageable(option: str, trainer: Trainer, live: dict[str, Tensor]) -> None:
    """Refuses weights of which no average can be kept.

    Raises:
        ConfigError: they are in pieces, or of 16 bits.
    """
    if isinstance(trainer.strategy, FSDPStrategy):
        raise ConfigError(f"{option}: the weights of fsdp are in pieces; use trainer.strategy ddp, or leave it out")
    if any(tensor.dtype in (torch.float16, torch.bfloat16) for tensor in live.values()):
        raise ConfigError(f"{option}: 16-bit weights are too coarse to average; use trainer.precision bf16-mixed")
