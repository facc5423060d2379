"""How far a classifier's probabilities can be believed.

All of them keep sums alone: memory does not grow with the data, and several processes add up to exactly what one finds.

Shapes: B images, K classes, M bins, T temperatures.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from project.metrics.sums import Sums


class Bins(NamedTuple):
    """A reliability diagram (Guo et al. 2017, figure 1), each (M,): NaN where a bin holds nothing."""

    count: Tensor  # type: ignore[assignment]  # nobody asks for the tuple's own
    confidence: Tensor
    """Mean of the bin's top probabilities, 0..1."""
    accuracy: Tensor
    """Share of the bin's samples that are classified right, 0..1."""


class CalibrationError(Sums):
    """Expected calibration error, 0..1: the mean over samples of how far their bin's accuracy is from its mean confidence.

    Guo et al. 2017, arXiv:1706.04599, equation 3, with M bins of equal width over the top probability. A confidence on
    an edge belongs to the bin above, as in torchmetrics, and 1 to the last bin, as in the paper; torchmetrics 1.9 has
    one more bin for those of exactly 1, and keeps the confidence of every sample. NaN without samples.

    Args:
        num_bins: M.
    """

    higher_is_better = False
    sums: Tensor

    def __init__(self, num_bins: int = 15) -> None:
        super().__init__()
        self.num_bins = num_bins
        self.add_sum("sums", num_bins, 3)  # of each bin's samples: how many, confidence, classified right

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """Adds a batch: probabilities (B, K) float in 0..1, labels (B,) int64."""
        confidence, predicted = _at_least_float32(probabilities).max(dim=1)
        edges = torch.linspace(0, 1, self.num_bins + 1, dtype=torch.float32, device=confidence.device)
        # without the outermost edges, since rounding takes a softmax up to 1.0000001
        bins = torch.bucketize(confidence.float(), edges[1:-1], right=True)
        terms = torch.stack([torch.ones_like(confidence), confidence, predicted == labels], dim=1)
        self.sums = self.sums.index_add(0, bins, terms.to(self.sums))

    def compute(self) -> Tensor:
        """The error, a scalar."""
        count, confidence, correct = self.sums.unbind(dim=1)
        return (correct - confidence).abs().sum() / count.sum()

    def bins(self) -> Bins:
        """What a reliability diagram shows, over all processes, each of which must call it."""
        with self.sync_context():
            count, confidence, correct = self.sums.unbind(dim=1)
            return Bins(count.clone(), confidence / count, correct / count)


class BrierScore(Sums):
    """Mean of Σ_k (p_k - 1[y = k])², 0..2 (Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2).

    NaN without samples.
    """

    higher_is_better = False
    squared_errors: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_sum("squared_errors")
        self.add_sum("count")

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """Adds a batch: probabilities (B, K) float in 0..1, labels (B,) int64."""
        hits = labels[:, None] == torch.arange(probabilities.shape[1], device=labels.device)
        errors = _at_least_float32(probabilities) - hits.float()
        self.squared_errors = self.squared_errors + errors.square().sum(dtype=self.count.dtype)
        self.count = self.count + len(labels)

    def compute(self) -> Tensor:
        """The score, a scalar."""
        return self.squared_errors / self.count


class NegativeLogLikelihood(Sums):
    """Mean of -log p_y in nats, at least 0; NaN without samples."""

    higher_is_better = False
    losses: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_sum("losses")
        self.add_sum("count")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch: logits (B, K) float, labels (B,) int64."""
        losses = functional.cross_entropy(_at_least_float32(logits), labels, reduction="none")
        self.losses = self.losses + losses.sum(dtype=self.count.dtype)
        self.count = self.count + len(labels)

    def compute(self) -> Tensor:
        """The mean, a scalar."""
        return self.losses / self.count


class TemperatureSearch(Sums):
    """The most probable temperature that logits are to be divided by.

    Temperature scaling (Guo et al. 2017, arXiv:1706.04599, section 4.2): above 1 for a network that is too sure of
    itself. Guo et al. maximise the likelihood alone, which has no maximum where every sample is classified right: ever
    smaller temperatures make a small validation split ever more probable, and the one error in testing infinitely
    surprising. So log T has a standard normal distribution beforehand, which adds (log T)² / 2 to the sum of the
    negative log-likelihoods: less than the surprise of one wrong sample.

    Instead of all logits it keeps the likelihood's sum at T temperatures, log-spaced, and looks for the minimum between
    the best one and its neighbours on the quartic through five of them. That is right to 2e-4 of the temperature (see
    the tests); a parabola through three is right to 8e-3.

    The result is `lowest` or `highest` where the probability still rises there, 1 without samples, and NaN for logits
    that are no numbers.

    Args:
        lowest: temperature.
        highest: temperature.
        num_temperatures: T, at least 5; the error falls with its fourth power.
    """

    _CHUNK = 2**22  # numbers at a time, beyond one temperature's B · K: 16 MiB, thrice
    grid_losses: Tensor
    count: Tensor

    def __init__(self, lowest: float = 0.05, highest: float = 20.0, num_temperatures: int = 49) -> None:
        super().__init__()
        self.lowest, self.highest, self.num_temperatures = lowest, highest, num_temperatures
        self.add_sum("grid_losses", num_temperatures)
        self.add_sum("count")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch: logits (B, K) float, labels (B,) int64."""
        logits = _at_least_float32(logits)
        # below the largest: each exponential is at most 1 whatever the temperature, and their sum at least 1
        logits = logits - logits.amax(dim=1, keepdim=True)
        of_label = logits.gather(1, labels[:, None])[:, 0]
        inverse = 1 / self._grid(logits.device, logits.dtype)
        losses = [
            (logits * some[:, None, None]).exp_().sum(dim=2).log_() - of_label * some[:, None]
            for some in inverse.split(max(self._CHUNK // max(logits.numel(), 1), 1))
        ]
        self.grid_losses = self.grid_losses + torch.cat(losses).sum(dim=1, dtype=self.count.dtype)
        self.count = self.count + len(labels)

    def compute(self) -> Tensor:
        """The temperature, a scalar."""
        # on the processor, which has float64 everywhere
        losses = self.grid_losses.cpu().double() + self._grid("cpu", torch.float64).log().square() / 2
        best = losses.argmin()  # the lowest of equals
        # the quartic in log T, with the grid's step as unit, around the middle of five points
        first = (best - 2).clamp(0, self.num_temperatures - 5)
        nodes = torch.arange(-2.0, 3.0, dtype=torch.float64)
        five = losses[first + torch.arange(5)]
        quartic = torch.linalg.solve(torch.linalg.vander(nodes), five - five.min())
        # looked for where it must lie: between the best one's neighbours
        near = best - first - 2 + torch.linspace(-1, 1, 20_001, dtype=torch.float64)
        between = near[(torch.linalg.vander(near, N=5) @ quartic).argmin()]
        at_an_end = (best == 0) | (best == self.num_temperatures - 1)
        place = torch.where(at_an_end, best, first + 2 + between)
        ratio = math.log(self.highest / self.lowest) / (self.num_temperatures - 1)
        temperature = torch.where(self.count.cpu() > 0, self.lowest * torch.exp(place * ratio), 1.0)
        return torch.where(losses.isfinite().all(), temperature, torch.nan).to(self.grid_losses)

    def _grid(self, device: Any, dtype: torch.dtype) -> Tensor:
        """The temperatures, (T,), ascending."""
        ends = math.log(self.lowest), math.log(self.highest)
        return torch.linspace(*ends, self.num_temperatures, device=device, dtype=dtype).exp()


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
