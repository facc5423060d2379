"""FitNets: the student's map, through a projector, is to be the teacher's.

Shapes: B images, C channels, h × w the size of a map.
"""

from __future__ import annotations

from torch import Tensor, nn

from project.losses.arithmetic import full_precision
from project.losses.projectors import in_dtype_of, same_size


class FitNets(nn.Module):
    """Hints (Romero et al. 2015, arXiv:1412.6550, equation 3).

    The projector is a 1 × 1 convolution, which is a linear layer for pooled features. Each image counts for itself, so
    several processes average to what one finds.

    Args:
        student_shape: (C, h, w) of the student's stage.
        teacher_shape: of the teacher's.
    """

    def __init__(self, student_shape: tuple[int, int, int], teacher_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.projector = nn.Conv2d(student_shape[0], teacher_shape[0], 1)

    def forward(self, student_map: Tensor, teacher_map: Tensor) -> Tensor:
        """mean((r(s) - t)²), a scalar: over images, channels and places.

        Args:
            student_map: (B, C, h, w) float.
            teacher_map: (B, C', h', w') float; the larger map is averaged down to the smaller.
        """
        student, teacher = same_size(student_map, teacher_map)
        return mean_square(self.projector(in_dtype_of(self, student)), teacher)


@full_precision
def mean_square(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean of (s - t)², a scalar; the teacher gets no gradient."""
    return (student - teacher.detach()).square().mean()
