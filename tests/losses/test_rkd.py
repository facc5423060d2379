"""Distances and angles by loops over pairs and triples, in little memory and in float16."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from project.losses import rkd as module
from project.losses.rkd import rkd


def huber(difference: float) -> float:
    return difference**2 / 2 if abs(difference) <= 1 else abs(difference) - 0.5


def distances(rows: list[list[float]]) -> dict[tuple[int, int], float]:
    found = {(i, j): math.dist(rows[i], rows[j]) for i, j in product(range(len(rows)), repeat=2)}
    apart = [d for d in found.values() if d > 0]
    return {pair: d / (sum(apart) / len(apart)) for pair, d in found.items()}


def cosine(rows: list[list[float]], i: int, j: int, k: int) -> float:
    """Of the angle at j."""
    a, b = ([x - y for x, y in zip(rows[end], rows[j], strict=True)] for end in (i, k))
    lengths = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


def by_loops(student: torch.Tensor, teacher: torch.Tensor, distance: float, angle: float) -> float:
    s, t, count = student.tolist(), teacher.tolist(), len(student)
    ds, dt = distances(s), distances(t)
    pairs = sum(huber(ds[pair] - dt[pair]) for pair in ds) / count**2
    triples = product(range(count), repeat=3)
    angles = sum(huber(cosine(s, *triple) - cosine(t, *triple)) for triple in triples) / count**3
    return distance * pairs + angle * angles


def features(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(count, 4, dtype=torch.float64, generator=generator) / 20  # nearer than 1, all of them
    return student, 3 * torch.randn(count, 9, dtype=torch.float64, generator=generator) + 5


@pytest.mark.parametrize(("distance", "angle"), [(25.0, 50.0), (25.0, 0.0), (0.0, 50.0), (0.0, 0.0)])
def test_the_formula_whatever_the_sizes(distance, angle):
    student, teacher = features()
    expected = by_loops(student, teacher, distance, angle)
    assert rkd(student, teacher, distance, angle).item() == pytest.approx(expected, rel=1e-10)
    assert rkd(student.float(), teacher.float(), distance, angle).item() == pytest.approx(expected, rel=1e-4)


def test_the_published_weights_are_the_defaults_and_similar_figures_lose_nothing():
    student, teacher = features()
    assert rkd(student, teacher) == rkd(student, teacher, 25.0, 50.0)
    assert rkd(student, 2 * student + 7).item() == pytest.approx(0, abs=1e-12)
    assert rkd(student.float(), student.float()).item() == 0


def test_float16_does_not_overflow():
    student = (300 * torch.randn(5, 64)).half().requires_grad_()
    assert student.detach().square().sum(1).isinf().any()
    loss = rkd(student, 300 * torch.randn(5, 64))
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_equal_images_have_a_finite_gradient():
    student = torch.ones(4, 3)
    student[3] = 2
    student.requires_grad_()
    loss = rkd(student, torch.randn(4, 3))
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() < 100


@pytest.mark.parametrize("collapsed", [False, True])
def test_one_image_or_one_place_has_no_relations(collapsed):
    student = torch.ones(4 if collapsed else 1, 3, requires_grad=True)
    loss = rkd(student, torch.ones_like(student))
    loss.backward()
    assert loss.item() == 0
    assert (student.grad == 0).all()


class Largest(TorchDispatchMode):
    """The most numbers that one operation gives."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


@pytest.mark.parametrize(("chunk", "vertices"), [(3 * 24 * 32, 3), (100, 1)])
def test_angles_are_the_same_in_little_memory(monkeypatch, chunk, vertices):
    torch.manual_seed(0)
    student, teacher = torch.randn(24, 32, dtype=torch.float64, requires_grad=True), torch.randn(24, 16).double()
    with Largest() as whole:
        loss = rkd(student, teacher)
        (gradient,) = torch.autograd.grad(loss, student)
    monkeypatch.setattr(module, "_CHUNK", chunk)
    with Largest() as lean:
        in_parts = rkd(student, teacher)
        (gradient_in_parts,) = torch.autograd.grad(in_parts, student)
    torch.testing.assert_close(in_parts, loss)
    torch.testing.assert_close(gradient_in_parts, gradient)
    assert whole.numbers >= 24 * 24 * 32
    assert lean.numbers <= vertices * 24 * 32
