"""Similarity-preserving distillation: images that are alike to the teacher are to be alike to the student.

Shapes: B images, C channels, h × w the size of a map.
"""

from __future__ import annotations

from torch import Tensor

from project.losses.arithmetic import full_precision, unit


@full_precision
def similarity(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """‖G_s - G_t‖² / B², where row i of G is that of Q Qᵀ at length 1 and Q is the maps, flattened; a scalar.

    Tung and Mori 2019, arXiv:1907.09682, equations 1 to 4. It looks at pairs of a process's batch: several processes
    see fewer. Of one image it is 0.

    Args:
        student_map: (B, C, h, w) float.
        teacher_map: (B, C', h', w') float.
    """
    return (_similarities(student_map) - _similarities(teacher_map.detach())).square().mean()


def _similarities(maps: Tensor) -> Tensor:
    """(B, B), rows of length 1."""
    flat = maps.flatten(1)
    return unit(flat @ flat.T)
