"""DIST: correlations against numpy's, and the affine maps that they do not see."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from project.losses.dist import dist, pearson


def by_numpy(student, teacher, temperature: float, beta: float, gamma: float) -> float:
    p, q = (np.exp(z / temperature) / np.exp(z / temperature).sum(1, keepdims=True) for z in (teacher, student))
    inter = np.mean([1 - np.corrcoef(p[i], q[i])[0, 1] for i in range(len(p))])
    intra = np.mean([1 - np.corrcoef(p[:, k], q[:, k])[0, 1] for k in range(p.shape[1])])
    return temperature**2 * (beta * inter + gamma * intra)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_formula(temperature):
    torch.manual_seed(0)
    student, teacher = 2 * torch.randn(2, 6, 5, dtype=torch.float64)
    expected = by_numpy(student.numpy(), teacher.numpy(), temperature, 1.5, 0.5)
    assert dist(student, teacher, temperature, 1.5, 0.5).item() == pytest.approx(expected, rel=1e-9)
    assert dist(student.float(), teacher.float(), temperature, 1.5, 0.5).item() == pytest.approx(expected, rel=1e-4)
    assert dist(student, teacher) == dist(student, teacher, 4.0, 1.0, 1.0)


def test_positive_affine_maps_of_the_probabilities_change_nothing():
    torch.manual_seed(1)
    teacher = torch.randn(6, 5, dtype=torch.float64)
    flatter = (0.3 * teacher.softmax(1) + 0.7 / 5).log()
    assert dist(flatter, teacher, 1.0).item() == pytest.approx(0, abs=1e-12)
    a, b = torch.rand(2, 6, 5, dtype=torch.float64)
    for dim in (0, 1):
        torch.testing.assert_close(pearson(3 * a + 2, 0.1 * b - 5, dim), pearson(a, b, dim))
        torch.testing.assert_close(pearson(-a, b, dim), -pearson(a, b, dim))


def test_one_image_has_a_relation_of_classes_alone():
    student = torch.tensor([[1.0, 3.0, 2.0]], requires_grad=True)
    teacher = torch.tensor([[2.0, 1.0, 0.0]])
    loss = dist(student, teacher, 1.0, beta=1.0, gamma=1.0)
    loss.backward()
    assert loss.item() == dist(student, teacher, 1.0, beta=1.0, gamma=0.0).item() > 0
    assert student.grad.isfinite().all()
    assert student.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_extreme_logits_have_a_finite_loss_and_gradient(dtype):
    student = torch.tensor([[1e4, -1e4, 0.0], [1e4, -1e4, 3.0], [0.0, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    loss = dist(student, -student.detach(), 1.0)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_what_does_not_vary_correlates_with_nothing():
    assert dist(torch.zeros(3, 4), torch.randn(3, 4), 1.0).item() == pytest.approx(2)
