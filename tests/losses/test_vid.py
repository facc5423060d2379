"""The Gaussian of the teacher's map against torch's, and its variance."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal

from project.losses.vid import VID


def test_it_is_the_negative_log_likelihood_but_for_a_constant():
    torch.manual_seed(0)
    loss = VID((3, 4, 4), (5, 2, 2))
    with torch.no_grad():
        loss.alpha += torch.randn(5)
    student, teacher = torch.randn(4, 3, 4, 4), torch.randn(4, 5, 2, 2)
    mean = loss.mean(student.reshape(4, 3, 2, 2, 2, 2).mean((3, 5))).detach().double()
    total = 0.0
    for channel, alpha in enumerate(loss.alpha.tolist()):
        variance = math.log(1 + math.exp(alpha)) + 1e-5
        normal = Normal(mean[:, channel], math.sqrt(variance))
        total += (-normal.log_prob(teacher[:, channel].double()) - math.log(2 * math.pi) / 2).sum().item()
    assert loss(student, teacher).item() == pytest.approx(total / teacher.numel(), rel=1e-5)
    singles = [loss(student[i : i + 1], teacher[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(loss(student, teacher), torch.stack(singles).mean())


@pytest.mark.parametrize("variance", [5.0, 0.1, 1e-4, 0.0])
def test_the_initial_variance(variance):
    loss = VID((3, 1, 1), (2, 1, 1), initial_variance=variance)
    found = torch.nn.functional.softplus(loss.alpha.detach()) + 1e-5
    assert found.tolist() == pytest.approx([max(variance, 2e-5)] * 2, rel=1e-3)


def test_the_variance_falls_where_the_mean_is_right():
    loss = VID((3, 1, 1), (2, 1, 1))
    student = torch.randn(8, 3, 1, 1)
    teacher = loss.mean(student).detach()
    optimizer = torch.optim.SGD([loss.alpha], lr=1)
    first = loss(student, teacher).item()
    for _ in range(20):
        optimizer.zero_grad()
        loss(student, teacher).backward()
        optimizer.step()
    assert loss(student, teacher).item() < first
