"""Attention transfer: the student is to look where the teacher looks.

Shapes: B images, C channels, h × w the size of a map.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from project.losses.arithmetic import full_precision, unit
from project.losses.projectors import same_size


@full_precision
def attention_transfer(student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]) -> Tensor:
    """Σ_stages mean((Q_s / ‖Q_s‖ - Q_t / ‖Q_t‖)²) with Q = mean_c f², a scalar.

    Zagoruyko and Komodakis 2017, arXiv:1612.03928, equation 2 with F²_sum, as a mean over images and places, as in the
    authors' program. Each image counts for itself, so several processes average to what one finds. A map that is 0
    looks nowhere and gets no gradient.

    Args:
        student_maps: (B, C, h, w) float, one a stage.
        teacher_maps: (B, C', h', w') float; the larger map is averaged down to the smaller.
    """
    loss = student_maps[0].new_zeros(())
    for student, teacher in zip(student_maps, teacher_maps, strict=True):
        student, teacher = same_size(student, teacher.detach())
        loss = loss + (_attention(student) - _attention(teacher)).square().mean()
    return loss


def _attention(maps: Tensor) -> Tensor:
    """(B, h·w), of length 1."""
    return unit(maps.square().mean(1).flatten(1))
