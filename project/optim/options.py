"""What the user said of an optimizer holds also after a checkpoint's state is loaded into it."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from project.errors import CheckpointError


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
        self._kinds = {name: type(value) for name, value in vars(scheduler).items()} if scheduler else {}
        # what the schedule moves: some cycle the momentum against the rate
        self._scheduled = {"lr", "momentum", "betas"} if getattr(scheduler, "cycle_momentum", False) else {"lr"}
        self._shape: dict[str, Any] = {}
        if scheduler is not None:
            names = [*inspect.signature(type(scheduler).__init__).parameters, "base_lrs"]
            kept = {name: vars(scheduler)[name] for name in names if name in vars(scheduler)}
            self._shape = {k: v for k, v in kept.items() if k not in ("optimizer", "last_epoch")}

    def reapply(self) -> None:
        """Puts them back; the learning rate keeps its place in the schedule, at the new scale.

        Raises:
            CheckpointError: the loaded state has values of other types than an optimizer and its schedule have.
        """
        self._check_state()
        for group, given in zip(self._optimizer.param_groups, self._groups, strict=True):
            saved = group.get("initial_lr", group["lr"])
            if saved != given["initial_lr"]:
                group["lr"] *= given["initial_lr"] / saved
            group.update({name: value for name, value in given.items() if name not in self._scheduled})
        if self._scheduler is not None:
            vars(self._scheduler).update(self._shape)

    def _check_state(self) -> None:
        """Torch takes any state; what does not fit would fail in the middle of a step."""
        for group in self._optimizer.param_groups:
            _check(all(isinstance(group.get(name, 0.0), float) for name in ("lr", "initial_lr")), "a learning rate")
        for parameter, state in self._optimizer.state.items():
            _check(isinstance(parameter, Tensor) and isinstance(state, dict), "the optimizer's list of parameters")
            for name, value in state.items():
                fits = isinstance(value, (int, float, type(None)))
                if isinstance(value, Tensor):
                    pairs = zip(value.shape, parameter.shape, strict=False)
                    fits = value.dim() != parameter.dim() or all(size in (1, whole) for size, whole in pairs)
                _check(fits, f"the optimizer's {name}")
        for name, value in vars(self._scheduler).items() if self._scheduler else ():
            kind, own = type(value), self._kinds.get(name)
            same = own in (None, type(None), kind) or {own, kind} <= {int, float}
            _check(same and not (own is None and hasattr(type(self._scheduler), name)), f"the schedule's {name}")


def _check(fits: bool, what: str) -> None:
    if not fits:
        raise CheckpointError(f"ckpt_path: its state of training is damaged: {what} has another type or shape; start a new "
                              "run from its weights with --model.init_from")  # fmt: skip
