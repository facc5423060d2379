"""Slow weights that the trained ones return to every few steps, less and less far from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from project.callbacks.averaging import averaged_tensors, check_averageable, fill, tensors
from project.errors import ConfigError
from project.runs.progress import run_fraction


@dataclass(frozen=True)
class LookaheadOptions:
    """Lookahead (Zhang et al. 2019, arXiv:1907.08610), with slow weights that grow slower (Jordan 2024, arXiv:2404.00498).

    Args:
        decay: share of the slow weights that a step keeps at the end of the run, such as 0.95; it begins at 0 and grows
            with the cube of progress. Without it there is no Lookahead.
        every: optimizer steps between two returns.

    Raises:
        ConfigError: a value is out of its range.
    """

    decay: float | None = None
    every: int = 5

    def __post_init__(self) -> None:
        if self.decay is not None and not 0 <= self.decay < 1:
            raise ConfigError(f"lookahead.decay: must be at least 0 and below 1; got {self.decay}")
        if self.every < 1:
            raise ConfigError(f"lookahead.every: must be at least 1; got {self.every}")


class Lookahead(Callback):
    """Every so many steps the slow weights move towards the trained ones, which go on from there.

    With the fraction t of the run done, slow ← lerp(trained, slow, decay^every · t³), and trained ← slow. After the last step
    the slow weights are the network. They cover every parameter and the statistics of batch norms.

    Args:
        options: see `LookaheadOptions`.
    """

    def __init__(self, options: LookaheadOptions) -> None:
        self.options = options
        self._slow: dict[str, Tensor] = {}
        self._restored: dict[str, Tensor] = {}
        self._step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins with the weights as they are, or with those of the run that is resumed."""
        restored, self._restored = self._restored, {}
        self._step = trainer.global_step
        if self.options.decay is not None:
            run_fraction(trainer)  # refuses a run without a length
            live = dict(averaged_tensors(pl_module))
            check_averageable("lookahead.decay", trainer, live)
            self._slow = {name: tensor.detach().clone() for name, tensor in live.items()}
            fill(self._slow, restored)

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Returns to the slow weights after every so many optimizer steps, and after the last one."""
        step, decay = trainer.global_step, self.options.decay
        if decay is None or step == self._step:
            return
        self._step = step
        due, progress = step % self.options.every == 0, run_fraction(trainer)
        if due or progress >= 1:
            live = dict(averaged_tensors(pl_module))
            if due:
                kept = decay**self.options.every * progress**3
                torch._foreach_lerp_(list(self._slow.values()), [live[name] for name in self._slow], 1 - kept)
            fill(live, self._slow)

    def state_dict(self) -> dict[str, Any]:
        """The slow weights."""
        return {"slow": self._slow} if self._slow else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps them until training begins."""
        self._restored = tensors(state_dict["slow"])
