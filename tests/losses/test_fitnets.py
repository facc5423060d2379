"""Hints: the projector by a product, the mean square by loops."""

from __future__ import annotations

import pytest
import torch

from project.losses.fitnets import FitNets, mean_square


def test_the_formula():
    torch.manual_seed(0)
    loss = FitNets((3, 4, 4), (5, 2, 2))
    student, teacher = torch.randn(4, 3, 4, 4), torch.randn(4, 5, 2, 2)
    averaged = student.double().reshape(4, 3, 2, 2, 2, 2).mean((3, 5))
    weight, bias = (p.detach().double() for p in loss.projector.parameters())
    projected = torch.einsum("oc,bchw->bohw", weight[:, :, 0, 0], averaged) + bias[:, None, None]
    expected = sum((a - b) ** 2 for a, b in zip(projected.flatten().tolist(), teacher.flatten().tolist(), strict=True))
    assert loss(student, teacher).item() == pytest.approx(expected / teacher.numel(), rel=1e-5)
    singles = [loss(student[i : i + 1], teacher[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(loss(student, teacher), torch.stack(singles).mean())


def test_a_larger_teacher_is_averaged_down_and_pooled_features_have_one_place():
    torch.manual_seed(0)
    loss = FitNets((3, 2, 2), (5, 4, 4))
    student, teacher = torch.randn(2, 3, 2, 2), torch.randn(2, 5, 4, 4)
    averaged = teacher.reshape(2, 5, 2, 2, 2, 2).mean((3, 5))
    torch.testing.assert_close(loss(student, teacher), loss(student, averaged))
    assert FitNets((3, 1, 1), (5, 1, 1))(torch.randn(2, 3, 1, 1), torch.randn(2, 5, 1, 1)).shape == ()


def test_a_projector_that_is_the_identity_loses_nothing():
    loss = FitNets((3, 2, 2), (3, 2, 2))
    with torch.no_grad():
        loss.projector.weight.copy_(torch.eye(3)[:, :, None, None])
        loss.projector.bias.zero_()
    maps = torch.randn(2, 3, 2, 2)
    assert loss(maps, maps).item() == 0


def test_the_mean_square_is_of_float32():
    big = torch.full((2, 2), 1000.0, dtype=torch.float16)
    assert mean_square(big, -big).item() == 4e6
