"""Hinton's loss, image by image and class by class."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from project.losses.kd import kd


def softmax(row: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(z / temperature) for z in row]
    return [e / sum(exponentials) for e in exponentials]


def by_loops(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> float:
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        pairs = zip(softmax(t, temperature), softmax(s, temperature), strict=True)
        total += sum(p * math.log(p / q) for p, q in pairs)
    return temperature**2 * total / len(student)


def logits(count: int = 5, classes: int = 7, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(3 * torch.randn(2, count, classes, dtype=torch.float64, generator=generator))


@pytest.mark.parametrize("temperature", [0.5, 1, 4, 20])
def test_the_formula(temperature):
    student, teacher = logits()
    assert kd(student, teacher, temperature).item() == pytest.approx(by_loops(student, teacher, temperature), rel=1e-10)
    found = kd(student.float(), teacher.float(), temperature)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(by_loops(student, teacher, temperature), rel=1e-4)


def test_it_is_the_mean_over_images_and_the_sum_over_classes():
    student, teacher = logits(classes=100)
    found = kd(student, teacher, 2.0)
    singles = [kd(s[None], t[None], 2.0) for s, t in zip(student, teacher, strict=True)]
    torch.testing.assert_close(found, torch.stack(singles).mean())
    over_both = functional.kl_div((student / 2).log_softmax(1), (teacher / 2).softmax(1), reduction="none").mean() * 4
    torch.testing.assert_close(found, 100 * over_both)


def test_the_temperature_does_not_shrink_the_gradient():
    # T² keeps it: for high temperatures it tends to (s - t) / K of centred logits, whatever T
    student, teacher = logits(count=1)
    student, teacher = ((z - z.mean(1, keepdim=True)) for z in (student, teacher))
    student.requires_grad_()
    kd(student, teacher, 1e4).backward()
    torch.testing.assert_close(student.grad, (student.detach() - teacher) / 7, rtol=1e-3, atol=1e-3)


def test_equal_networks_lose_nothing():
    student, _ = logits()
    student = student.float().requires_grad_()
    loss = kd(student, student.detach(), 4.0)
    loss.backward()
    assert loss.item() == 0
    assert student.grad.abs().max() < 1e-6


def test_a_teacher_may_give_log_probabilities():
    student, teacher = logits()
    torch.testing.assert_close(kd(student, teacher.log_softmax(1), 3.0), kd(student, teacher, 3.0))
    mean = (teacher.softmax(1) + student.softmax(1)) / 2
    expected = (mean * (mean.log() - student.log_softmax(1))).sum(1).mean()
    torch.testing.assert_close(kd(student, mean.log(), 1.0), expected)
    never = torch.tensor([[0.5, 0.5, 0.0]]).log()  # -inf
    assert kd(torch.zeros(1, 3), never, 1.0).item() == pytest.approx(math.log(3 / 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("standardize", [False, True])
def test_extreme_logits_have_a_finite_loss_and_gradient(dtype, standardize):
    student = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[-1e4, 1e4, 5.0], [-1e4, 1e4, -1e4]], dtype=dtype)
    loss = kd(student, teacher, 1.0, standardize)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()
    if not standardize:
        assert loss.item() == pytest.approx((2e4 + math.log(2)) / 2, rel=1e-2)


def test_half_precision_logits_are_compared_in_full():
    student, teacher = (z.bfloat16() for z in logits())
    with torch.autocast("cpu", torch.bfloat16):
        found = kd(student, teacher, 4.0)
    torch.testing.assert_close(found, kd(student.float(), teacher.float(), 4.0), rtol=0, atol=0)
