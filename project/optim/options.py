"""What the user said of an optimizer holds also after a checkpoint's state is loaded into it."""

from __future__ import annotations

import inspect
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class GivenOptions:
    """The options that an optimizer and its schedule were made with.

    A checkpoint's state holds options too (learning rate, momentum, decay, the schedule's shape), and torch's
    `load_state_dict` brings them back, so that new ones on the command line would be ignored without a word.

    Args:
        optimizer: as made, before its state is loaded.
        scheduler: its schedule, if any.
    """

    def __init__(self, optimizer: Optimizer, scheduler: LRScheduler | None) -> None:
        self._optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])  # some schedules do not keep what they lower
        self._groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        self._scheduler = scheduler
        # what the schedule moves: some cycle the momentum against the rate
        self._scheduled = {"lr", "momentum", "betas"} if getattr(scheduler, "cycle_momentum", False) else {"lr"}
        self._shape: dict[str, Any] = {}
        if scheduler is not None:
            names = [*inspect.signature(type(scheduler).__init__).parameters, "base_lrs"]
            kept = {name: vars(scheduler)[name] for name in names if name in vars(scheduler)}
            self._shape = {k: v for k, v in kept.items() if k not in ("optimizer", "last_epoch")}

    def reapply(self) -> None:
        """Puts them back; the learning rate keeps its place in the schedule, at the new scale."""
        for group, given in zip(self._optimizer.param_groups, self._groups, strict=True):
            saved = group.get("initial_lr", group["lr"])
            if saved != given["initial_lr"]:
                group["lr"] *= given["initial_lr"] / saved
            group.update({name: value for name, value in given.items() if name not in self._scheduled})
        if self._scheduler is not None:
            vars(self._scheduler).update(self._shape)
