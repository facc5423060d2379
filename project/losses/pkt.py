"""Probabilistic knowledge transfer: who is near whom, as probabilities.

Shapes: B images, D features.
"""

from __future__ import annotations

from torch import Tensor

from project.losses.arithmetic import full_precision, unit

_EPS = 1e-7  # of a probability, as in the authors' program


@full_precision
def pkt(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """Σ_i Σ_j≠i p_j|i log(p_j|i / q_j|i) / B², p of the teacher and q of the student, a scalar in nats.

    Passalis and Tefas 2018, arXiv:1803.10837, section 3, where p_j|i is (cos(x_i, x_j) + 1) / 2 over its sum for
    all j ≠ i; the mean over B² is that of the authors' program. It looks at pairs of a process's batch: several
    processes see fewer. Of one image it is 0.

    Args:
        student_features: (B, D) float.
        teacher_features: (B, D') float.
    """
    student, teacher = _neighbours(student_features), _neighbours(teacher_features.detach())
    return (teacher * ((teacher + _EPS) / (student + _EPS)).log()).mean()


def _neighbours(features: Tensor) -> Tensor:
    """Row i: the probabilities (B, B) of the others to be its neighbour; 0 of itself."""
    features = unit(features)
    kernel = (features @ features.T).clamp(-1, 1) / 2 + 0.5  # rounding takes a cosine beyond 1
    others = kernel - kernel.diag().diag()
    return others / others.sum(1, keepdim=True).clamp(min=_EPS)
