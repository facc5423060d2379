"""Attacks against a linear model, whose worst point is known, and against the same steps written out in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from project.losses.adversarial import fgsm, pgd


def images(count: int = 4, side: int = 5) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(0)).byte()


def weights(side: int = 5) -> torch.Tensor:
    return torch.randn(3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def linear(images: torch.Tensor) -> torch.Tensor:
    return (images.double() * weights()).sum()


def small_net() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(36, 1)).double()


def test_of_a_linear_loss_both_find_the_corner_that_is_the_worst():
    x, epsilon = images(), 8.0
    corner = (x.double() + epsilon * weights().sign()).clamp(0, 255)
    assert torch.equal(fgsm(linear, x, epsilon).double(), corner)
    # from any start the corner is at most 2 ε away
    assert torch.equal(pgd(linear, x, epsilon, step_size=4.0, steps=4).double(), corner)


@pytest.mark.parametrize("steps", [1, 7])
def test_the_steps_are_those_of_the_paper(steps):
    x, net, epsilon, step_size = images(), small_net(), 6.0, 2.0
    found = pgd(lambda images: net(images.double() / 255).sum(), x, epsilon, step_size, steps,
                torch.Generator().manual_seed(3))  # fmt: skip
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(3)).double()
    moved = (x.double() + epsilon * (2 * noise - 1)).clamp(0, 255)
    for _ in range(steps):
        moved.requires_grad_()
        gradient = torch.autograd.grad(net(moved / 255).sum(), moved)[0]
        low, high = (x - epsilon).clamp(min=0), (x + epsilon).clamp(max=255)
        moved = torch.minimum(torch.maximum(moved.detach() + step_size * gradient.sign(), low), high)
    assert found.dtype == torch.float32
    assert (found.double() - moved).abs().max() < 1e-4


@pytest.mark.parametrize("attack", [lambda loss, x: fgsm(loss, x, 16.0), lambda loss, x: pgd(loss, x, 16.0, 40.0, 3)])
def test_no_pixel_moves_farther_than_epsilon_or_out_of_the_picture(attack):
    x = images(8)
    moved = attack(linear, x)
    assert (moved - x.float()).abs().max() <= 16
    assert moved.min() >= 0
    assert moved.max() <= 255
    assert (moved - x.float()).abs().mean() > 8


def test_the_loss_grows_and_the_network_learns_nothing_from_it():
    x, net = images(), small_net()
    loss_of = lambda images: net(images.double() / 255).square().sum()  # noqa: E731
    with torch.no_grad():  # as in a validation
        one, ten = fgsm(loss_of, x, 4.0), pgd(loss_of, x, 4.0, 1.0, 10, torch.Generator().manual_seed(0))
        before = loss_of(x)
        assert before < loss_of(one) <= loss_of(ten) * 1.05
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not one.requires_grad


@pytest.mark.parametrize("attack", [lambda loss, x: fgsm(loss, x, 4.0), lambda loss, x: pgd(loss, x, 4.0, 1.0, 2)])
def test_no_gradient_reaches_what_made_the_images(attack):
    assert not attack(linear, images().float().requires_grad_()).requires_grad


def test_epsilon_zero_moves_nothing():
    assert torch.equal(fgsm(linear, images(), 0.0), images().float())
    assert torch.equal(pgd(linear, images(), 0.0, 1.0, 2), images().float())


def test_the_start_is_uniform_in_the_ball():
    x = torch.full((50, 3, 20, 20), 128.0)
    start = (pgd(linear, x, 8.0, 1.0, 0, torch.Generator().manual_seed(0)) - x).flatten().double()
    assert start.abs().max() <= 8
    assert start.mean().item() == pytest.approx(0, abs=0.1)
    assert start.std().item() == pytest.approx(16 / math.sqrt(12), rel=0.02)
