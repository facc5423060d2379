"""Options of an optimizer and its schedule that hold also after a checkpoint's state is loaded into them."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR

from project.errors import CheckpointError


class GivenOptions:
    """The options that an optimizer and its schedule were made with.

    A checkpoint's state holds options too (learning rate, momentum, decay, the schedule's shape), and torch's
    `load_state_dict` restores them, so that new ones on the command line would be ignored in silence.

    Args:
        optimizer: as made, before its state is loaded and a schedule is made for it.
        make_scheduler: makes its schedule, if it has one.
    """

    def __init__(self, optimizer: Optimizer, make_scheduler: Callable[[Optimizer], LRScheduler] | None) -> None:
        self._optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])  # some schedules do not keep what they lower
        self._groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        self._make_scheduler = make_scheduler
        self.scheduler = make_scheduler(optimizer) if make_scheduler else None
        self._shape: dict[str, Any] = {}
        self._kinds: dict[str, type] = {}
        if self.scheduler is not None:
            self._kinds = {name: type(value) for name, value in vars(self.scheduler).items() if not callable(value)}
            names = [*inspect.signature(type(self.scheduler).__init__).parameters, "base_lrs"]
            kept = {name: vars(self.scheduler)[name] for name in names if name in vars(self.scheduler)}
            self._shape = {k: v for k, v in kept.items() if k not in ("optimizer", "last_epoch")}

    def reapply(self) -> None:
        """Restores them; without a schedule, and with a plateau's, the learning rate is scaled by its new value.

        Raises:
            CheckpointError: the loaded state has values of other types than an optimizer and its schedule have.
        """
        self._check_state()
        for group, given in zip(self._optimizer.param_groups, self._groups, strict=True):
            saved = group.get("initial_lr", group["lr"])
            if saved != given["initial_lr"]:
                group["lr"] *= given["initial_lr"] / saved
            group.update({name: value for name, value in given.items() if name != "lr"})
        if self.scheduler is not None:
            vars(self.scheduler).update(self._shape)

    def set_rates(self) -> None:
        """Takes the optimizer's learning rates as they are now for the given ones."""
        for group, given in zip(self._optimizer.param_groups, self._groups, strict=True):
            given["lr"] = given["initial_lr"] = group["lr"]
        if "base_lrs" in self._shape:
            self._shape["base_lrs"] = [group["lr"] for group in self._optimizer.param_groups]

    def placed(self, steps: int) -> LRScheduler:
        """A new schedule with these options, after `steps` of its steps; its rates are set.

        Repeating the steps gives the bits that a run without an interruption has, with any schedule of torch's but a
        plateau's; those that a cycle defines are set to their step at once.

        Raises:
            ConfigError: it has fewer steps.
        """
        assert self._make_scheduler is not None, "there is a schedule to place"
        for group, given in zip(self._optimizer.param_groups, self._groups, strict=True):
            group.update(given)
        scheduler = self._make_scheduler(self._optimizer)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            if isinstance(scheduler, (OneCycleLR, CyclicLR)) and steps:
                scheduler.last_epoch, scheduler._step_count = steps - 1, steps
                steps = 1
            for _ in range(steps):
                scheduler.step()
        return scheduler

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
        for name, value in vars(self.scheduler).items() if self.scheduler else ():
            kind, own = type(value), self._kinds.get(name)
            same = own in (None, type(None), kind) or {own, kind} <= {int, float}
            _check(same and not (own is None and hasattr(type(self.scheduler), name)), f"the schedule's {name}")


def _check(fits: bool, what: str) -> None:
    if not fits:
        raise CheckpointError(f"ckpt_path: its state of training is damaged: {what} has another type or shape; start a new "
                              "run from its weights with --model.init_from")  # fmt: skip
