"""Logit standardisation: the student copies which classes are nearer, and has a scale of its own.

Shapes: B images, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SMALLEST_STD = 1e-7


def standardized(logits: Tensor) -> Tensor:
    """(z - mean(z)) / std(z) of each row, (B, K): what `kd` and `dkd` do to both networks' logits with `standardize`.

    Sun et al. 2024, arXiv:2403.01427, algorithm 1; the standard deviation is that of K - 1 degrees of
    freedom, as in their program. Adding to a row and multiplying it by a positive number change nothing. A row of equal
    logits, such as a head that begins at zero gives, has no scale: it becomes 0 and gets no gradient.

    Args:
        logits: (B, K) float32 or float64, K at least 2.
    """
    centred = logits - logits.mean(1, keepdim=True)
    variance = centred.square().sum(1, keepdim=True) / (logits.shape[1] - 1)
    present = variance > _SMALLEST_STD**2
    return torch.where(present, centred * torch.where(present, variance, 1).rsqrt(), 0)
