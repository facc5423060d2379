"""SimKD: the student makes the teacher's last map, and the teacher's own classifier reads it.

Shapes: B images, C channels, h × w the size of a map, K classes.
"""

from __future__ import annotations

import copy
from typing import Self

from torch import Tensor, nn

from project.losses.fitnets import mean_square
from project.losses.projectors import conv_norm, in_dtype_of, shrunk


class SimKD(nn.Module):
    """The teacher's classifier on the student's projected map (Chen et al. 2022, arXiv:2203.14001).

    Published alone, without cross-entropy. The projector and the classifier then belong to the student: `logits` is
    what it says, in testing too. So the classifier is copied, frozen and in evaluation mode, and travels in the state.
    Each image counts for itself but for the projector's batch norms, so several processes average to nearly what one
    finds.

    Args:
        student_shape: (C, h, w) of the student's last stage.
        teacher_shape: of the teacher's.
        teacher_head: from the teacher's last map (B, C', h', w') to logits (B, K): its pool and its classifier.
        reduction: how many times fewer channels than C' the projector has inside.
        relu: whether the projector ends with ReLU; for a teacher whose last map has negative values, not.
    """

    def __init__(
        self,
        student_shape: tuple[int, int, int],
        teacher_shape: tuple[int, int, int],
        teacher_head: nn.Module,
        reduction: int = 2,
        relu: bool = True,
    ) -> None:
        super().__init__()
        channels, self._size = teacher_shape[0], teacher_shape[1:]
        inside = max(channels // reduction, 1)
        self.projector = nn.Sequential(
            *conv_norm(student_shape[0], inside),
            nn.ReLU(),
            *conv_norm(inside, inside, 3),
            nn.ReLU(),
            *conv_norm(inside, channels),
            *([nn.ReLU()] if relu else []),
        )
        self.classifier = copy.deepcopy(teacher_head).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Sets the projector's mode; the classifier stays in evaluation mode."""
        super().train(mode)
        self.classifier.eval()
        return self

    def forward(self, student_map: Tensor, teacher_map: Tensor) -> Tensor:
        """mean((r(s) - t)²), a scalar: as a mean over images, channels and places.

        Args:
            student_map: (B, C, h, w) float.
            teacher_map: (B, C', h', w') float; the larger map is averaged down to the smaller.
        """
        return self.both(student_map, teacher_map)[0]

    def logits(self, student_map: Tensor) -> Tensor:
        """What the teacher's classifier says of the student's map (B, C, h, w): (B, K), with gradient to the student."""
        return self._classified(self._projected(student_map))

    def both(self, student_map: Tensor, teacher_map: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` and `logits` find, of one pass through the projector: its batch norms count a batch once."""
        projected = self._projected(student_map)
        return mean_square(projected, shrunk(teacher_map, projected.shape[2:])), self._classified(projected)

    def _classified(self, projected: Tensor) -> Tensor:
        return self.classifier(in_dtype_of(self.classifier, projected))

    def _projected(self, student_map: Tensor) -> Tensor:
        return self.projector(in_dtype_of(self.projector, shrunk(student_map, self._size)))
