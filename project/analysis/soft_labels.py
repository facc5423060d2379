"""What a teacher's probabilities tell besides the label: dark knowledge (Hinton et al. 2015, arXiv:1503.02531).

Shapes: N samples, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def soften(logits: Tensor, temperature: float) -> Tensor:
    """Softened probabilities q_k = exp(z_k / T) / Σ_j exp(z_j / T), (N, K) float32 (Hinton et al. 2015, equation 1).

    Args:
        logits: (N, K) float.
        temperature: T above 0: 1 leaves the probabilities as they are, a higher one brings them closer together.
    """
    return (logits.float() / temperature).softmax(1)


def entropy(probabilities: Tensor) -> Tensor:
    """-Σ_k p_k log p_k in nats, (N,) float32 in 0..log K, of probabilities (N, K)."""
    return torch.special.entr(probabilities.float()).sum(1)


def class_similarity(logits: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """How much of each class the soft labels see in another: their mean over the samples of a class without that class.

    Args:
        logits: (N, K) float.
        labels: (N,) int64.
        temperature: see `soften`.

    Returns:
        (K, K) float32, a row for each true class: its mean soft label without the true class's own share, divided by its
        sum; the diagonal is NaN, and so is the row of a class without samples.
    """
    num_classes = logits.shape[1]
    sums = torch.zeros(num_classes, num_classes).index_add(0, labels, soften(logits, temperature))
    sums.fill_diagonal_(0)
    similarity = sums / sums.sum(1, keepdim=True)
    return similarity.fill_diagonal_(torch.nan)
