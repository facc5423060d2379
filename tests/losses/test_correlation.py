"""Correlation congruence by loops over pairs, and the kernel that it expands."""

from __future__ import annotations

import math

import pytest
import torch

from project.losses.correlation import correlation


def kernel(features: torch.Tensor, gamma: float, order: int) -> list[list[float]]:
    units = [[v / math.sqrt(sum(w**2 for w in row)) for v in row] for row in features.tolist()]
    cosines = [[sum(x * y for x, y in zip(a, b, strict=True)) for b in units] for a in units]
    weights = [math.exp(-2 * gamma) * (2 * gamma) ** p / math.factorial(p) for p in range(order + 1)]
    return [[sum(w * c**p for p, w in enumerate(weights)) for c in row] for row in cosines]


@pytest.mark.parametrize(("gamma", "order"), [(0.4, 2), (1.0, 1), (0.2, 4)])
def test_the_formula_whatever_the_sizes(gamma, order):
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 3).double(), torch.randn(5, 7).double()
    both = zip(kernel(student, gamma, order), kernel(teacher, gamma, order), strict=True)
    expected = sum((a - b) ** 2 for s, t in both for a, b in zip(s, t, strict=True)) / 25
    assert correlation(student, teacher, gamma, order).item() == pytest.approx(expected, rel=1e-10)
    assert correlation(student, 2 * student, gamma, order).item() == pytest.approx(0, abs=1e-12)


def test_with_many_terms_the_kernel_is_gaussian():
    x = torch.nn.functional.normalize(torch.randn(4, 3).double())
    expanded = torch.tensor(kernel(x, 0.4, 20), dtype=torch.float64)
    torch.testing.assert_close(expanded, (-0.4 * torch.cdist(x, x).square()).exp())


def test_one_image_loses_nothing_and_features_of_zero_are_borne():
    assert correlation(torch.randn(1, 3), torch.randn(1, 3)).item() == pytest.approx(0, abs=1e-12)
    student = torch.zeros(3, 4, requires_grad=True)
    correlation(student, torch.randn(3, 4)).backward()
    assert (student.grad == 0).all()
