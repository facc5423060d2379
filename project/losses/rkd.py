"""Relational knowledge distillation: distances between images and the angles of their triangles.

Shapes: B images, D features, V vertices at a time.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from project.losses.arithmetic import full_precision, unit

_CHUNK = 2**24  # numbers at a time: 64 MiB
_EPS = 1e-12


@full_precision
def rkd(student_features: Tensor, teacher_features: Tensor, distance: float = 25.0, angle: float = 50.0) -> Tensor:
    """λ_D mean_ij huber(d_ij / mean(d)) + λ_A mean_ijk huber(cos ∠ijk), student against teacher, a scalar.

    Park et al. 2019, arXiv:1904.05068, section 3.2; the mean distance is that of pairs that are apart, and the
    means are over all B² and B³, as in the authors' program. It looks at pairs and triples of a process's batch:
    several processes see fewer. Of one image it is 0. Images at one place have no angle, and no gradient of one.

    Args:
        student_features: (B, D) float.
        teacher_features: (B, D') float.
        distance: λ_D.
        angle: λ_A.
    """
    teacher_features = teacher_features.detach()
    loss = student_features.new_zeros(())
    if distance:
        ours, theirs = _distances(student_features), _distances(teacher_features)
        loss = loss + distance * functional.smooth_l1_loss(ours, theirs)
    if angle:
        loss = loss + angle * _angles_apart(student_features, teacher_features)
    return loss


def _distances(features: Tensor) -> Tensor:
    """Over their mean, (B, B)."""
    # by differences: by products, near images have a distance of rounding errors
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    mean = distances.sum() / (distances > 0).sum().clamp(min=1)
    return distances / mean.clamp(min=_EPS)


def _angles_apart(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean over B³, some vertices at a time: all differences and all cosines at once can take gigabytes."""
    count = len(student)
    numbers = count * max(student.shape[1], teacher.shape[1], count)
    chunks = torch.arange(count, device=student.device).split(max(_CHUNK // numbers, 1))
    if len(chunks) == 1:
        return _angles_at(chunks[0], student, teacher) / count**3
    # computed again in going backwards, instead of kept
    again = partial(checkpoint, _angles_at, use_reentrant=False, preserve_rng_state=False)
    return sum((again(chunk, student, teacher) for chunk in chunks), student.new_zeros(())) / count**3


def _angles_at(vertices: Tensor, student: Tensor, teacher: Tensor) -> Tensor:
    """The sum over the triangles with one of these vertices, (V,), in the middle."""
    return functional.smooth_l1_loss(_cosines(vertices, student), _cosines(vertices, teacher), reduction="sum")


def _cosines(vertices: Tensor, features: Tensor) -> Tensor:
    """(V, B, B)."""
    sides = unit(features - features[vertices, None])  # (V, B, D)
    return sides @ sides.mT
