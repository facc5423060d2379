"""Knowledge review: every stage of the student, with what later ones know, is to be the teacher's stage.

Shapes: B images, C channels, h × w the size of a map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from project.losses.arithmetic import full_precision
from project.losses.projectors import conv_norm, in_dtype_of


class ReviewKD(nn.Module):
    """Attention-based fusion and a hierarchical context loss (Chen et al. 2021, arXiv:2104.09044).

    Each image counts for itself but for the fusions' batch norms, so several processes average to nearly what one finds.

    Args:
        student_shapes: (C, h, w) of the student's stages, from first to last.
        teacher_shapes: of the teacher's, as many.
        channels: of the fusions, at most; the student's last stage limits them too.
    """

    def __init__(
        self,
        student_shapes: Sequence[tuple[int, int, int]],
        teacher_shapes: Sequence[tuple[int, int, int]],
        channels: int = 512,
    ) -> None:
        super().__init__()
        middle = min(channels, student_shapes[-1][0])
        last = len(student_shapes) - 1
        self.fusions = nn.ModuleList(
            Fusion(student[0], middle, teacher[0], first=number == last)
            for number, (student, teacher) in enumerate(zip(student_shapes, teacher_shapes, strict=True))
        )

    def forward(self, student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]) -> Tensor:
        """Σ_stages HCL(fused stage of the student, stage of the teacher), a scalar (section 3.3).

        Args:
            student_maps: (B, C, h, w) float, one a stage.
            teacher_maps: (B, C', h', w') float; the student's are brought to this size.
        """
        losses, carried = [], None
        stages = list(zip(self.fusions, student_maps, teacher_maps, strict=True))
        for fusion, student, teacher in reversed(stages):
            output, carried = fusion(student, carried, tuple(teacher.shape[2:]))
            losses.append(hierarchical(output, teacher))
        return torch.stack(losses).sum()


class Fusion(nn.Module):
    """A stage and what comes from the later ones, weighted place by place (ABF).

    Args:
        channels_in: C of the student's stage.
        middle: channels of the fusion.
        channels_out: C of the teacher's stage.
        first: whether it is the last stage, where nothing comes from later ones.
    """

    def __init__(self, channels_in: int, middle: int, channels_out: int, first: bool) -> None:
        super().__init__()
        self.enter = conv_norm(channels_in, middle)
        self.attention = None if first else nn.Conv2d(2 * middle, 2, 1)
        self.leave = conv_norm(middle, channels_out, 3)
        for block in (self.enter, self.leave):
            nn.init.kaiming_uniform_(block.get_parameter("0.weight"), a=1)  # as published

    def forward(self, maps: Tensor, carried: Tensor | None, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """What is compared with the teacher, and what goes to the stage before, both at `size`."""
        fused = self.enter(in_dtype_of(self, maps))
        if self.attention is not None:
            assert carried is not None, "only the first has none"
            carried = _resized(carried, tuple(fused.shape[2:]))
            share = self.attention(torch.cat([fused, carried], dim=1)).sigmoid()
            fused = fused * share[:, :1] + carried * share[:, 1:]
        fused = _resized(fused, size)
        return self.leave(fused), fused


@full_precision
def hierarchical(student: Tensor, teacher: Tensor) -> Tensor:
    """HCL: mean squares at full size and at 4, 2 and 1 places a side, weighted 1, ½, ¼, ⅛ over their sum.

    Sizes that the maps do not exceed are left out.

    Args:
        student: (B, C, h, w) float.
        teacher: (B, C, h, w) float.
    """
    teacher = teacher.detach()
    loss, weight, total = (student - teacher).square().mean(), 1.0, 1.0
    for side in (4, 2, 1):
        if side < max(student.shape[2:]):
            weight /= 2
            size = min(side, student.shape[2]), min(side, student.shape[3])
            pooled = functional.adaptive_avg_pool2d(student - teacher, size)  # averaging is linear
            loss, total = loss + weight * pooled.square().mean(), total + weight
    return loss / total


def _resized(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    return maps if tuple(maps.shape[2:]) == size else functional.interpolate(maps, size, mode="nearest")
