"""Probabilities of being neighbours, by loops."""

from __future__ import annotations

import math

import pytest
import torch

from project.losses.pkt import pkt


def neighbours(features: torch.Tensor) -> list[list[float]]:
    units = [[v / math.sqrt(sum(w**2 for w in row)) for v in row] for row in features.tolist()]
    kernel = [[(sum(x * y for x, y in zip(a, b, strict=True)) + 1) / 2 for b in units] for a in units]
    count = len(kernel)
    return [
        [0.0 if i == j else kernel[i][j] / sum(kernel[i][k] for k in range(count) if k != i) for j in range(count)]
        for i in range(count)
    ]


def test_the_formula_whatever_the_sizes():
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 3).double(), torch.randn(5, 7).double()
    q, p = neighbours(student), neighbours(teacher)
    terms = [p[i][j] * math.log(p[i][j] / q[i][j]) for i in range(5) for j in range(5) if i != j]
    assert pkt(student, teacher).item() == pytest.approx(sum(terms) / 25, rel=1e-4)  # the program's 1e-7 is not there
    assert pkt(student, 2 * student).item() == pytest.approx(0, abs=1e-12)
    assert pkt(student.float(), student.float()).item() == 0


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_images_have_no_choice_of_neighbours(count):
    student = torch.randn(count, 3, requires_grad=True)
    loss = pkt(student, torch.randn(count, 4))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-7)
    assert student.grad.abs().max() < 1e-5


def test_opposite_and_empty_features_are_borne():
    student = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [5e4, 5e4]], dtype=torch.float16, requires_grad=True)
    loss = pkt(student, torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]))
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_rounding_makes_no_negative_probabilities():
    torch.manual_seed(0)
    for _ in range(50):  # the cosine of opposites is often below -1 by a rounding error
        image = torch.randn(1, 300)
        assert pkt(torch.cat([image, -image]), torch.randn(2, 3)).isfinite()
