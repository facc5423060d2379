"""One term of a distillation loss, as a configuration writes it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from project.errors import ConfigError, did_you_mean
from project.losses.distillation.registry import LOSSES, check_options


@dataclass(frozen=True)
class LossTerm:
    """A loss with its weight.

    Args:
        name: which: kd, lskd, dkd, dist, fitnets, at, sp, cc, rkd, pkt, vid, review_kd, simkd or crd.
        weight: what it is multiplied by; the published one by default.
        options: its own, such as temperature, alpha, beta, or the stages that it compares: student_stage and
            teacher_stage (student_stages and teacher_stages for at and review_kd), where `features` is the pooled ones and
            a path such as `stages.layer2.0.conv1` what a module inside gives.
        warmup_epochs: epochs over which the weight rises from 0, linearly.

    Raises:
        ConfigError: there is no such loss or option, or a value is out of its range.
    """

    name: str
    weight: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    warmup_epochs: int = 0

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise ConfigError(f"model.losses: there is no '{self.name}'; {did_you_mean(self.name, LOSSES)}")
        for name in ("weight", "warmup_epochs"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"model.losses.{self.name}.{name}: must be at least 0; got {value}")
        object.__setattr__(self, "options", self.options or {})  # a configuration's empty `options:` is None
        check_options(self.name, self.options)

    def weight_at(self, epoch: float) -> float:
        """The weight at a time in epochs, counted from 0."""
        weight = LOSSES[self.name].weight if self.weight is None else self.weight
        return weight * (min(max(epoch, 0) / self.warmup_epochs, 1.0) if self.warmup_epochs else 1.0)
