"""Training means that cost the training step next to nothing."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor

from project.runs.schema import Schema


class RunningMeans:
    """Means over an epoch's samples, summed on the device and read once at its end.

    `self.log` costs about 0.3 ms a call and a torchmetrics update more; this is one addition. The sums travel in the
    checkpoint, so an epoch that was interrupted reports what the whole one would have.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets everything, for a new epoch."""
        self._names: tuple[str, ...] = ()
        self._sums: Tensor | None = None
        self._count = 0

    def update(self, count: int, **means: Tensor) -> None:
        """Adds a batch.

        Args:
            count: samples in it.
            **means: scalars, each the mean over the batch; the same names at every call.
        """
        batch = torch.stack([mean.detach() for mean in means.values()])
        if self._sums is None or self._sums.device != batch.device:
            dtype = torch.float32 if batch.device.type == "mps" else torch.float64  # MPS has no float64
            zeros = torch.zeros(len(means), dtype=dtype)
            self._names, self._sums = (
                tuple(means),
                (zeros if self._sums is None else self._sums).to(batch.device, dtype),
            )
        self._sums.add_(batch, alpha=count)
        self._count += count

    def copy(self) -> RunningMeans:
        """The same sums, which go their own way."""
        other = RunningMeans()
        other._names, other._count = self._names, self._count
        other._sums = None if self._sums is None else self._sums.clone()
        return other

    def compute(self, strategy: Strategy) -> dict[str, float]:
        """The mean over all processes' samples so far; nothing without samples."""
        sums, count = self._totals(strategy)
        return {name: total / count for name, total in zip(self._names, sums, strict=True)} if count else {}

    def state(self, strategy: Strategy) -> dict[str, Any]:
        """All processes' sums, as plain JSON types."""
        sums, count = self._totals(strategy)
        return {"names": list(self._names), "sums": sums, "count": count}

    def restore(self, state: dict[str, Any], rank: int) -> None:
        """Takes the sums of `state` back, on the first process alone, since they are everybody's.

        Raises:
            SchemaError: it is not of the form of `state`.
        """
        self.reset()
        state = Schema().arguments(_state, state, "training_means")
        if state.get("count"):
            share = 1 if rank == 0 else 0
            self._names = tuple(state["names"])
            self._sums = torch.tensor(state["sums"], dtype=torch.float64) * share
            self._count = state["count"] * share

    def _totals(self, strategy: Strategy) -> tuple[list[float], int]:
        if self._sums is None:
            return [], 0
        totals = torch.cat([self._sums, self._sums.new_tensor([self._count])]).to(strategy.root_device)
        *sums, count = strategy.reduce(totals, reduce_op="sum").tolist()
        return sums, int(count)


def _state(names: list[str], sums: list[float], count: int) -> None:
    """The form of a saved state."""
