"""Distillation word by word, against loops over words in double precision."""

from __future__ import annotations

import math

import pytest
import torch

from project.losses.kd import kd
from project.losses.word_kd import word_kd

SHAPE = (3, 2, 4)  # images, captions, places
VALID = torch.tensor([[[1, 1, 1, 0], [1, 0, 0, 0]], [[1, 1, 1, 1], [0, 0, 0, 0]], [[1, 1, 0, 0], [1, 1, 1, 0]]]).bool()


def logits(words: int = 7, scale: float = 3.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(scale * torch.randn(2, *SHAPE, words, dtype=torch.float64, generator=generator))


def softmax(row: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(z / temperature) for z in row]
    return [e / sum(exponentials) for e in exponentials]


def by_loops(student: torch.Tensor, teacher: torch.Tensor, valid: torch.Tensor, temperature: float) -> float:
    total, count = 0.0, 0
    rows = zip(student.flatten(0, -2).tolist(), teacher.flatten(0, -2).tolist(), valid.flatten().tolist(), strict=True)
    for s, t, is_word in rows:
        if is_word:
            count += 1
            pairs = zip(softmax(t, temperature), softmax(s, temperature), strict=True)
            total += sum(p * math.log(p / q) for p, q in pairs)
    return temperature**2 * total / count


@pytest.mark.parametrize("temperature", [0.5, 1, 4])
def test_the_formula(temperature):
    student, teacher = logits()
    expected = by_loops(student, teacher, VALID, temperature)
    assert word_kd(student, teacher, VALID, temperature).item() == pytest.approx(expected, rel=1e-10)
    found = word_kd(student.float(), teacher.float(), VALID, temperature)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_by_default_probabilities_are_compared_as_they_are():
    student, teacher = logits()
    assert word_kd(student, teacher, VALID).item() == pytest.approx(by_loops(student, teacher, VALID, 1), rel=1e-10)


def test_it_is_divided_by_the_words_and_not_by_captions_or_places():
    student, teacher = logits(words=100)
    singles = [kd(s[None], t[None], 2.0) for s, t in zip(student[VALID], teacher[VALID], strict=True)]
    assert len(singles) == VALID.sum() == 13
    torch.testing.assert_close(word_kd(student, teacher, VALID, 2.0), torch.stack(singles).mean())


def test_padding_counts_for_nothing_and_gets_no_gradient():
    student, teacher = logits()
    student.requires_grad_()
    loss = word_kd(student, teacher, VALID)
    loss.backward()
    assert not student.grad[~VALID].any()
    assert student.grad[VALID].abs().sum(1).all()
    other = teacher.masked_fill(~VALID[..., None], 50.0)
    assert word_kd(student, other, VALID).item() == loss.item()
    wide = [torch.nn.functional.pad(values.detach(), (0, 0, 0, 3, 0, 2)) for values in (student, teacher)]
    torch.testing.assert_close(word_kd(*wide, torch.nn.functional.pad(VALID, (0, 3, 0, 2))), loss.detach())


def test_the_temperature_does_not_shrink_the_gradient():
    # it tends to (s - t) / V of centred logits, shared among the words
    student, teacher = ((z - z.mean(-1, keepdim=True)) for z in logits())
    student.requires_grad_()
    word_kd(student, teacher, VALID, 1e4).backward()
    expected = ((student.detach() - teacher) / 7 / 13)[VALID]
    torch.testing.assert_close(student.grad[VALID], expected, rtol=1e-3, atol=1e-4)


def test_equal_networks_lose_nothing():
    student, _ = logits()
    for values in (student, student.float(), student.bfloat16()):
        values = values.clone().requires_grad_()
        loss = word_kd(values, values.detach(), VALID, 3.0)
        loss.backward()
        assert loss.item() == 0
        assert values.grad.abs().max() < 1e-6


def test_log_probabilities_are_as_good_as_logits_and_impossible_words_are_allowed():
    student, teacher = logits()
    expected = word_kd(student, teacher, VALID, 2.0)
    torch.testing.assert_close(word_kd(student, teacher.log_softmax(-1), VALID, 2.0), expected)
    teacher[..., 0] = -torch.inf
    student.requires_grad_()
    loss = word_kd(student, teacher, VALID)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_the_teacher_learns_nothing():
    student, teacher = (values.requires_grad_() for values in logits())
    word_kd(student, teacher, VALID).backward()
    assert student.grad is not None
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_it_is_finite_for_any_logits(dtype):
    generator = torch.Generator().manual_seed(1)
    student, teacher = (1e4 * torch.randn(2, *SHAPE, 9, generator=generator).sign()).to(dtype)
    student.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = word_kd(student, teacher, VALID)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_half_precision_costs_the_inputs_rounding_alone():
    student, teacher = (values.bfloat16() for values in logits())
    expected = by_loops(student.double(), teacher.double(), VALID, 2.0)
    assert word_kd(student, teacher, VALID, 2.0).item() == pytest.approx(expected, rel=1e-5)


def test_without_a_word_it_is_nothing():
    student, teacher = logits()
    assert word_kd(student, teacher, torch.zeros_like(VALID)).item() == 0
