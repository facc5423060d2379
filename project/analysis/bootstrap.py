"""How far a number would move if the split had held other samples of the same kind.

Shapes: N samples, R resamples, ... whatever a statistic has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

RESAMPLES = 1000
_CONFIDENCE = 0.95
_NUMBERS_AT_A_TIME = 2**23  # of counts: 64 MiB
_COLUMNS = 4096


class Estimate(NamedTuple):
    """A number with its 95 % interval; both ends are NaN where it has none."""

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Callable[[Tensor], Tensor], num_samples: int, seed: int = 0, resamples: int = RESAMPLES
) -> list[Estimate]:
    """Percentile intervals over samples (Efron 1979, doi:10.1214/aos/1176344552; Efron and Tibshirani 1993, chapter 13).

    A resample draws N of N samples with replacement, and is given to the statistic as how often it has each. The
    interval lies between the 2.5 % and the 97.5 % quantile of what the statistic finds in all resamples. Those in which
    it is undefined are left out. It knows nothing of other seeds of training, nor of samples of another kind.

    Args:
        statistic: from counts (R, N) float64, with the sum N in each row, to numbers (R, ...) with NaN where undefined.
        num_samples: N.
        seed: of the draws: two statistics of the same N and seed see the same resamples.
        resamples: R.

    Returns:
        One for each number of the statistic, flat and in order, with its value for the samples as they are.
    """
    value = statistic(torch.ones(1, num_samples, dtype=torch.float64))[0].double()
    if not num_samples:
        return [Estimate(number, torch.nan, torch.nan) for number in value.flatten().tolist()]
    generator = torch.Generator().manual_seed(seed)
    found = []
    rows = max(_NUMBERS_AT_A_TIME // num_samples, 1)
    for first in range(0, resamples, rows):
        drawn = torch.randint(num_samples, (min(rows, resamples - first), num_samples), generator=generator)
        counts = torch.zeros(drawn.shape, dtype=torch.float64)
        counts.scatter_add_(1, drawn, torch.ones((), dtype=torch.float64).expand_as(drawn))
        found.append(statistic(counts).double().flatten(1))
    ends = torch.tensor([(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2], dtype=torch.float64)
    columns = torch.cat(found).split(_COLUMNS, dim=1)  # torch takes quantiles of no more than 16 million numbers
    low, high = torch.cat([part.nanquantile(ends, dim=0) for part in columns], dim=1).tolist()
    return [Estimate(*numbers) for numbers in zip(value.flatten().tolist(), low, high, strict=True)]


def mean_of(scores: Tensor) -> Callable[[Tensor], Tensor]:
    """The statistic that is the mean over samples of scores (N, ...), NaN of none."""
    flat = scores.double().flatten(1) if scores.dim() > 1 else scores.double()[:, None]
    return lambda counts: counts @ flat / counts.sum(1, keepdim=True)


def bootstrap_mean(scores: Tensor, seed: int = 0, resamples: int = RESAMPLES) -> list[Estimate]:
    """`bootstrap` of the mean over samples of scores (N, ...)."""
    return bootstrap(mean_of(scores), len(scores), seed, resamples)
