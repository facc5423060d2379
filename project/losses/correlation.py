"""Correlation congruence: the kernel of the student's features is to be the teacher's.

Shapes: B images, D features.
"""

from __future__ import annotations

import math

from torch import Tensor

from project.losses.arithmetic import full_precision, unit


@full_precision
def correlation(student_features: Tensor, teacher_features: Tensor, gamma: float = 0.4, order: int = 2) -> Tensor:
    """‖C_s - C_t‖² / B² with C_ij = Σ_p exp(-2γ) (2γ)^p / p! (f_i · f_j)^p for p = 0..P, a scalar.

    Peng et al. 2019, arXiv:1904.01802, section 3: the Taylor expansion of a Gaussian kernel over features of
    length 1. It looks at pairs of a process's batch: several processes see fewer. Of one image it is 0.

    The published tables' "CC" with a weight of 0.02 is another formula, over neighbours in the batch; this one is small
    beside cross-entropy and bears a larger weight.

    Args:
        student_features: (B, D) float.
        teacher_features: (B, D') float.
        gamma: γ, of the kernel.
        order: P.
    """
    difference = _kernel(student_features, gamma, order) - _kernel(teacher_features.detach(), gamma, order)
    return difference.square().mean()


def _kernel(features: Tensor, gamma: float, order: int) -> Tensor:
    """(B, B)."""
    features = unit(features)
    cosines = features @ features.T
    terms = [(2 * gamma) ** p / math.factorial(p) * cosines**p for p in range(1, order + 1)]
    return math.exp(-2 * gamma) * (1 + sum(terms, features.new_zeros(())))
