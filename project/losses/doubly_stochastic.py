"""Attention that leaves no place of an image out.

Shapes: C captions, T words, L places.
"""

from __future__ import annotations

from torch import Tensor


def doubly_stochastic(attention: Tensor, words: Tensor) -> Tensor:
    """Σ_i (1 - Σ_t α_ti)², the mean over captions, a scalar (Xu et al. 2015, arXiv:1502.03044, equation 14).

    As published, the attention that a place gets over all words is pulled to 1 whatever the number of words and places,
    and only T = L can bring it there.

    Args:
        attention: (..., T, L) float, weights that sum to one over L.
        words: (..., T) bool, which steps are words and no padding; captions without any are left out.
    """
    total = (attention * words[..., None]).sum(-2)
    present = words.any(-1)
    return ((1 - total).square().sum(-1) * present).sum() / present.sum().clamp(min=1)
