"""The decoupled loss: its two parts by loops, and the identity that makes `kd` of them."""

from __future__ import annotations

import math

import pytest
import torch

from project.errors import ConfigError
from project.losses.dkd import decoupled, dkd
from project.losses.kd import kd


def parts_by_loops(student: list[float], teacher: list[float], label: int, temperature: float) -> tuple[float, float]:
    """TCKD and NCKD of one image, in probabilities."""
    (p, q) = ([math.exp(z / temperature) for z in row] for row in (teacher, student))
    p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
    binary = p[label] * math.log(p[label] / q[label]) + (1 - p[label]) * math.log((1 - p[label]) / (1 - q[label]))
    others = [k for k in range(len(p)) if k != label]
    among = 0.0
    for k in others:
        p_hat, q_hat = p[k] / (1 - p[label]), q[k] / (1 - q[label])
        among += p_hat * math.log(p_hat / q_hat)
    return binary, among


def batch(classes: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = 2 * torch.randn(2, 5, classes, dtype=torch.float64, generator=generator)
    return student, teacher, torch.randint(classes, (5,), generator=generator)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("classes", [2, 6])
def test_the_formula(temperature, classes):
    student, teacher, labels = batch(classes)
    expected = 0.0
    for s, t, y in zip(student.tolist(), teacher.tolist(), labels.tolist(), strict=True):
        binary, among = parts_by_loops(s, t, y, temperature)
        expected += temperature**2 * (1.5 * binary + 8 * among) / 5
    found = dkd(student, teacher, labels, temperature, alpha=1.5, beta=8.0)
    assert found.item() == pytest.approx(expected, rel=1e-9)
    found = dkd(student.float(), teacher.float(), labels, temperature, alpha=1.5, beta=8.0)
    assert found.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kd_is_tckd_and_the_rest_times_nckd(temperature):
    student, teacher, labels = batch(seed=1)
    binary, among = decoupled(student, teacher, labels, temperature)
    sure = (teacher / temperature).softmax(1).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(
        ((binary + (1 - sure) * among) * temperature**2).mean(), kd(student, teacher, temperature), rtol=1e-12, atol=0
    )


def test_the_published_weights_are_the_defaults():
    student, teacher, labels = batch()
    assert dkd(student, teacher, labels) == dkd(student, teacher, labels, 4.0, alpha=1.0, beta=8.0)


def test_two_classes_have_but_one_other():
    student, teacher, labels = batch(2)
    assert (decoupled(student, teacher, labels, 4.0)[1] == 0).all()


def test_each_image_counts_for_itself():
    student, teacher, labels = batch()
    singles = [dkd(student[i : i + 1], teacher[i : i + 1], labels[i : i + 1]) for i in range(5)]
    torch.testing.assert_close(dkd(student, teacher, labels), torch.stack(singles).mean())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("teacher_sure", [False, True])
@pytest.mark.parametrize("gap", [400.0, 1e4])
def test_a_student_that_is_sure_has_a_finite_loss_and_gradient(dtype, teacher_sure, gap):
    student = torch.tensor([[gap, -gap, 0.0], [-gap, gap, 0.0]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[gap, -gap, 0.0] if teacher_sure else [1.0, 2.0, 0.0]] * 2, dtype=dtype)
    loss = dkd(student, teacher, torch.tensor([0, 0]), temperature=1.0)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()
    assert student.grad.any()
    # the naive way is not: the logarithm of a masked softmax
    rest = student.detach().float().softmax(1)[0, 1:].sum()
    assert rest == 0
    assert rest.log().isinf()


def test_equal_networks_lose_nothing():
    student, _, labels = batch()
    assert dkd(student, student.clone(), labels).item() == 0


def test_a_teacher_may_give_log_probabilities_even_of_zero():
    student, teacher, labels = batch()
    torch.testing.assert_close(dkd(student, teacher.log_softmax(1), labels), dkd(student, teacher, labels))
    certain = torch.tensor([[1.0, 0.0, 0.0]]).log()
    assert dkd(torch.zeros(1, 3), certain, torch.tensor([0]), 1.0).isfinite()


def test_soft_labels_are_refused():
    student, teacher, _ = batch()
    with pytest.raises(ConfigError, match=r"^model\.losses\.dkd: needs one label an image; set data\.augment\.mixup"):
        dkd(student, teacher, student.softmax(1))
