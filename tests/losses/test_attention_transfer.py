"""Attention maps by loops over places, and sizes that differ."""

from __future__ import annotations

import pytest
import torch

from project.losses.attention_transfer import attention_transfer


def attention(maps: list) -> list[float]:
    """Of one image (C, h, w): mean of squares over channels at each place, at length 1."""
    height, width = len(maps[0]), len(maps[0][0])
    values = [sum(c[i][j] ** 2 for c in maps) / len(maps) for i in range(height) for j in range(width)]
    length = sum(v**2 for v in values) ** 0.5
    return [v / length for v in values]


def by_loops(student: torch.Tensor, teacher: torch.Tensor) -> float:
    squares = []
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        squares += [(a - b) ** 2 for a, b in zip(attention(s), attention(t), strict=True)]
    return sum(squares) / len(squares)


def test_the_formula_is_summed_over_stages_whatever_the_channels():
    torch.manual_seed(0)
    stages = [
        (torch.randn(3, 4, 5, 6).double(), torch.randn(3, 7, 5, 6).double()),
        (torch.randn(3, 2, 2, 2).double(), torch.randn(3, 2, 2, 2).double()),
    ]
    expected = sum(by_loops(*stage) for stage in stages)
    assert attention_transfer(*zip(*stages, strict=True)).item() == pytest.approx(expected, rel=1e-10)


def test_the_larger_map_is_averaged_down():
    torch.manual_seed(1)
    small, large = torch.randn(2, 3, 2, 2).double(), torch.randn(2, 5, 4, 4).double()
    averaged = large.reshape(2, 5, 2, 2, 2, 2).mean((3, 5))
    for student, teacher in ((small, large), (large, small)):
        expected = by_loops(*(averaged if maps is large else maps for maps in (student, teacher)))
        assert attention_transfer([student], [teacher]).item() == pytest.approx(expected, rel=1e-10)


def test_scale_and_equal_attention_lose_nothing():
    maps = torch.randn(2, 3, 4, 4)
    assert attention_transfer([maps], [maps]).item() == 0
    assert attention_transfer([5 * maps], [maps.repeat(1, 2, 1, 1)]).item() == pytest.approx(0, abs=1e-12)


def test_each_image_counts_for_itself():
    student, teacher = torch.randn(4, 3, 2, 2).double(), torch.randn(4, 5, 2, 2).double()
    singles = [attention_transfer([student[i : i + 1]], [teacher[i : i + 1]]) for i in range(4)]
    torch.testing.assert_close(attention_transfer([student], [teacher]), torch.stack(singles).mean())


def test_a_map_of_zeros_gets_no_gradient():
    student = torch.zeros(2, 3, 2, 2)
    student[1] = 1
    student.requires_grad_()
    attention_transfer([student], [torch.rand(2, 3, 2, 2)]).backward()
    assert (student.grad[0] == 0).all()
    assert student.grad[1].isfinite().all()
    assert student.grad[1].any()
