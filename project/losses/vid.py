"""Variational information distillation: a bound of the mutual information of both networks' maps.

Shapes: B images, C channels, h × w the size of a map.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from project.losses.arithmetic import full_precision
from project.losses.projectors import in_dtype_of, same_size

_SMALLEST_VARIANCE = 1e-5


class VID(nn.Module):
    """A Gaussian of the teacher's map, whose mean the student predicts (Ahn et al. 2019, arXiv:1904.05835).

    The mean is three 1 × 1 convolutions with ReLU between them, the variance softplus(α) + ε of each channel, learned.
    Each image counts for itself, so several processes average to what one finds.

    Args:
        student_shape: (C, h, w) of the student's stage.
        teacher_shape: of the teacher's.
        initial_variance: of every channel.
    """

    def __init__(
        self,
        student_shape: tuple[int, int, int],
        teacher_shape: tuple[int, int, int],
        initial_variance: float = 5.0,
    ) -> None:
        super().__init__()
        channels_in, channels = student_shape[0], teacher_shape[0]
        self.mean = nn.Sequential(
            nn.Conv2d(channels_in, channels, 1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1),
        )
        excess = max(initial_variance - _SMALLEST_VARIANCE, _SMALLEST_VARIANCE)
        self.alpha = nn.Parameter(torch.full((channels,), excess + math.log(-math.expm1(-excess))))  # softplus⁻¹

    def forward(self, student_map: Tensor, teacher_map: Tensor) -> Tensor:
        """mean(log σ²_c + (t - μ(s))² / σ²_c) / 2, a scalar: the paper's section 2 without the constant.

        It is no distance: it falls below 0 as the variances fall. The sum of the paper is a mean over images, channels
        and places here, as in the published tables.

        Args:
            student_map: (B, C, h, w) float.
            teacher_map: (B, C', h', w') float; the larger map is averaged down to the smaller.
        """
        student, teacher = same_size(student_map, teacher_map)
        return _surprise(self.mean(in_dtype_of(self, student)), self.alpha, teacher)


@full_precision
def _surprise(mean: Tensor, alpha: Tensor, teacher: Tensor) -> Tensor:
    variance = functional.softplus(alpha)[:, None, None] + _SMALLEST_VARIANCE
    return (variance.log() + (teacher.detach() - mean).square() / variance).mean() / 2
