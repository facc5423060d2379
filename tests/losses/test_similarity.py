"""Similarity-preserving distillation by loops over pairs."""

from __future__ import annotations

import pytest
import torch

from project.losses.similarity import similarity


def rows(maps: torch.Tensor) -> list[list[float]]:
    flat = maps.reshape(len(maps), -1).tolist()
    products = [[sum(x * y for x, y in zip(a, b, strict=True)) for b in flat] for a in flat]
    return [[v / sum(w**2 for w in row) ** 0.5 for v in row] for row in products]


def test_the_formula_whatever_the_sizes():
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 3, 2, 2).double(), torch.randn(4, 5, 3, 3).double()
    pairs = [(a, b) for s, t in zip(rows(student), rows(teacher), strict=True) for a, b in zip(s, t, strict=True)]
    expected = sum((a - b) ** 2 for a, b in pairs) / 4**2
    assert similarity(student, teacher).item() == pytest.approx(expected, rel=1e-10)
    assert similarity(student.float(), teacher.float()).item() == pytest.approx(expected, rel=1e-4)
    assert similarity(student, 3 * student).item() == pytest.approx(0, abs=1e-12)
    assert similarity(student.float(), student.float()).item() == 0


def test_sums_beyond_float16_are_finite():
    student = torch.full((3, 8, 4, 4), 1000.0, dtype=torch.float16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = similarity(student, torch.randn(3, 8, 4, 4, dtype=torch.float16))
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_one_image_is_like_itself():
    student = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = similarity(student, torch.randn(1, 3, 2, 2))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert student.grad.abs().max() < 1e-6
