"""Float32 whatever comes in, finite logarithms, and lengths of nothing."""

from __future__ import annotations

import inspect
import math

import pytest
import torch

from project.losses.arithmetic import full_precision, kl_divergence, log_probs, unit


@full_precision
def product(a: torch.Tensor, others: list[torch.Tensor], transpose: bool = False) -> torch.Tensor:
    return a @ (others[0].T if transpose else others[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floats_are_widened_and_autocast_is_off(dtype):
    a = torch.full((2, 2), 300.0, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found = product(a, others=[a + 1], transpose=True)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert (found == 2 * 300 * (a[0, 0].double() + 1)).all() or dtype == torch.bfloat16  # above float16's 65,504
    assert list(inspect.signature(product).parameters) == ["a", "others", "transpose"]


def test_log_probs_are_those_of_the_temperature_and_finite():
    logits = torch.tensor([[1.0, -2.0, 0.5], [1e4, -1e4, 0.0], [0.0, -math.inf, -math.inf]], dtype=torch.float64)
    found = log_probs(logits, 3.0)
    assert found.isfinite().all()
    total = sum(math.exp(z / 3) for z in (1, -2, 0.5))
    assert found[0].tolist() == pytest.approx([z / 3 - math.log(total) for z in (1, -2, 0.5)], rel=1e-12)
    assert found[1].tolist() == pytest.approx([0, -2e4 / 3, -1e4 / 3], rel=1e-12)
    assert found[2].exp().tolist() == [1, 0, 0]
    torch.testing.assert_close(log_probs(log_probs(logits[:2], 1), 3.0), found[:2])  # log-probabilities are logits


def test_kl_divergence_of_zero_probabilities():
    p = torch.tensor([[0.0, -1e15, -1e15]])
    q = torch.tensor([[-2.0, -0.5, -3.0]])
    assert kl_divergence(p, q).tolist() == [2]
    assert kl_divergence(q, q).tolist() == [0]


def test_what_has_no_length_stays_nothing_without_a_gradient():
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0], [3e9, 4e9]], requires_grad=True)
    found = unit(vectors)
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [0, 0], [0.6, 0.8]]))
    found.sum().backward()
    assert (vectors.grad[1] == 0).all()
    assert vectors.grad[0, 0].item() == pytest.approx((1 - 0.6 * 1.4) / 5, rel=1e-5)
