"""Standardised logits: what they are, what changes nothing, and rows without a scale."""

from __future__ import annotations

import math

import pytest
import torch

from project.losses.dkd import dkd
from project.losses.kd import kd
from project.losses.standardization import standardized


def test_the_formula():
    torch.manual_seed(0)
    logits = torch.randn(4, 6, dtype=torch.float64)
    for row, found in zip(logits.tolist(), standardized(logits).tolist(), strict=True):
        mean = sum(row) / 6
        std = math.sqrt(sum((z - mean) ** 2 for z in row) / 5)
        assert found == pytest.approx([(z - mean) / std for z in row], rel=1e-10)


@pytest.mark.parametrize("loss", [kd, dkd])
def test_shift_and_scale_of_either_network_change_nothing(loss):
    torch.manual_seed(1)
    student, teacher = torch.randn(2, 5, 8, dtype=torch.float64)
    labels = (torch.arange(5),) if loss is dkd else ()
    expected = loss(student, teacher, *labels, temperature=2.0, standardize=True)
    scale, shift = torch.rand(5, 1, dtype=torch.float64) + 0.1, 10 * torch.randn(5, 1, dtype=torch.float64)
    for pair in ((student * scale + shift, teacher), (student, teacher * scale + shift)):
        torch.testing.assert_close(loss(*pair, *labels, temperature=2.0, standardize=True), expected)
    assert loss(student, 9 * teacher, *labels, temperature=2.0).item() > 2 * expected.item()  # by default it matters
    same = loss(student, 3 * student + 1, *labels, temperature=2.0, standardize=True)
    assert same.item() == pytest.approx(0, abs=1e-12)


def test_a_row_of_equal_logits_has_no_scale_and_no_gradient():
    student = torch.zeros(2, 3)
    student[1] = torch.tensor([1.0, 2.0, 4.0])
    student.requires_grad_()
    kd(student, torch.tensor([[3.0, 1.0, 0.0]] * 2), 2.0, standardize=True).backward()
    assert (student.grad[0] == 0).all()
    assert student.grad[1].abs().max() > 1e-2
