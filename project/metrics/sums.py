"""Metrics made of sums: memory does not grow with the data, and several processes add up to what one finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchmetrics import Metric


class Sums(Metric):
    """A metric whose states are sums in float64, added over processes."""

    full_state_update = False

    def add_sum(self, name: str, *shape: int) -> None:
        """Adds a state of zeros."""
        self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        """Moves to another device, and keeps the precision when a network becomes bfloat16, where 256 + 1 is 256."""

        def moved(state: Tensor) -> Tensor:
            device = fn(state.float()).device
            return state.to(device, torch.float32 if device.type == "mps" else torch.float64)  # all that Apple's has

        return super()._apply(moved, exclude_state)


class WeightedMean(Sums):
    """A mean of means, each with its weight: `total / weight`.

    torchmetrics' `MeanMetric` either waits for the device at every batch, to look for NaN, or ignores the weights.
    """

    total: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_sum("total")
        self.add_sum("weight")

    def update(self, mean: Tensor, weight: Tensor | float) -> None:
        """Adds a scalar mean over samples of this total weight."""
        self.total = self.total + mean.to(self.total) * weight
        self.weight = self.weight + weight

    def compute(self) -> Tensor:
        """The mean over everything, a scalar."""
        return self.total / self.weight
