"""Learning-rate shapes over a whole run, as factors of the optimizer's own rate.

torch's schedules need the number of steps as an argument, which depends on the data, the batch size and the number of
processes. These are functions of the fraction of the run that is done, which the task supplies: a run that is resumed
with other batches, processes or another length follows its new shape from the same fraction.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from project.errors import ConfigError


class Schedule(LRScheduler):
    """A factor of each group's initial learning rate as a function of progress through the run.

    Args:
        optimizer: whose rates to set.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._progress: Callable[[], float] | None = None
        super().__init__(optimizer)

    def follow(self, progress: Callable[[], float]) -> None:
        """Sets the function that returns the fraction of the run that is done, 0 to 1; the task does so."""
        self._progress = progress
        self.apply()

    def apply(self) -> None:
        """Gives each group the rate of the current place in the run."""
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = rate

    def factor(self, progress: float) -> float:
        """The factor at `progress`, 0 at the first step and 1 after the last."""
        raise NotImplementedError

    def get_lr(self) -> list[float | Tensor]:
        """Each group's learning rate at the current place in the run; the first one until `follow` is called."""
        factor = self.factor(self._progress() if self._progress else 0.0)
        return [rate * factor for rate in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Steps done and the shape; neither the optimizer nor the progress."""
        return _without_progress(super().state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the shape, at the current place in the run."""
        super().load_state_dict(_without_progress(state_dict))
        self.apply()


def _without_progress(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != "_progress"}


class OneCycle(Schedule):
    """Linear warm-up to the full rate, then linear decay to zero (Smith and Topin 2017, arXiv:1708.07120).

    Args:
        optimizer: whose rates to set.
        warmup: share of the run that warms up, 0 to 1.
        start: factor at the first step.
        end: factor after the last step.

    Raises:
        ConfigError: `warmup` is no such share.
    """

    def __init__(self, optimizer: Optimizer, warmup: float = 0.25, start: float = 0.1, end: float = 0.0) -> None:
        self.warmup, self.start, self.end = _share(warmup), start, end
        super().__init__(optimizer)

    def factor(self, progress: float) -> float:
        """See the class."""
        if progress < self.warmup:
            return _ramp(progress, self.warmup, self.start)
        return 1 + (self.end - 1) * (progress - self.warmup) / max(1 - self.warmup, 1e-9)


class WarmupCosine(Schedule):
    """Linear warm-up, then half a cosine to zero (Loshchilov and Hutter 2016, arXiv:1608.03983, without restarts).

    Args:
        optimizer: whose rates to set.
        warmup: share of the run that warms up, 0 to 1.
        start: factor at the first step.
        end: factor after the last step.

    Raises:
        ConfigError: `warmup` is no such share.
    """

    def __init__(self, optimizer: Optimizer, warmup: float = 0.05, start: float = 0.01, end: float = 0.0) -> None:
        self.warmup, self.start, self.end = _share(warmup), start, end
        super().__init__(optimizer)

    def factor(self, progress: float) -> float:
        """See the class."""
        if progress < self.warmup:
            return _ramp(progress, self.warmup, self.start)
        decayed = (progress - self.warmup) / max(1 - self.warmup, 1e-9)
        return self.end + (1 - self.end) * (1 + math.cos(math.pi * decayed)) / 2


class Steps(Schedule):
    """Linear warm-up, then a constant rate that drops at each milestone (He et al. 2015, arXiv:1512.03385).

    A step has the lower rate if the steps before it are at least the milestone's share of the run. So 0.625 of 240
    epochs is the first step of the epoch that 150 come before. A third needs all its digits,
    0.3333333333333333: 0.333 drops the rate earlier.

    Args:
        optimizer: whose rates to set.
        milestones: shares of the run, 0 to 1, ascending.
        gamma: factor at each milestone.
        warmup: share of the run that warms up, 0 to 1.
        start: factor at the first step, if there is a warm-up.

    Raises:
        ConfigError: the milestones or the warm-up are no such shares.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Sequence[float] = (0.5, 0.75),
        gamma: float = 0.1,
        warmup: float = 0.0,
        start: float = 0.1,
    ) -> None:
        self.milestones = list(milestones)
        if not all(0 <= m <= 1 for m in milestones) or any(a >= b for a, b in pairwise(milestones)):
            raise ConfigError(
                "model.lr_scheduler.milestones: must be shares of the run, ascending in 0..1, such as [0.5, 0.75]; "
                f"got {self.milestones}"
            )
        self.gamma, self.warmup, self.start = gamma, _share(warmup), start
        super().__init__(optimizer)

    def factor(self, progress: float) -> float:
        """See the class."""
        # exact: a quotient of steps and a decimal that mean the same number are rounded to the same float
        return _ramp(progress, self.warmup, self.start) * self.gamma ** bisect_right(self.milestones, progress)


def _ramp(progress: float, warmup: float, start: float) -> float:
    return start + (1 - start) * progress / warmup if progress < warmup else 1.0


def _share(warmup: float) -> float:
    if not 0 <= warmup <= 1:
        raise ConfigError(f"model.lr_scheduler.warmup: must be a share of the run, 0..1; got {warmup}")
    return warmup
