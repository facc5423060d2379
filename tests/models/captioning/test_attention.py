"""Attention against a loop over queries and places."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from project.models.captioning.attention import SoftAttention

B, W, L, D, H, A = 2, 3, 5, 4, 6, 7


@pytest.fixture
def attention() -> SoftAttention:
    torch.manual_seed(0)
    return SoftAttention(D, H, A)


def test_the_formula_for_each_query_and_place(attention):
    attention.double()
    grid, query = torch.randn(B, L, D, dtype=torch.float64), torch.randn(B, W, H, dtype=torch.float64)
    mean, weights = attention(query, attention.keys(grid), grid)
    assert (mean.shape, weights.shape) == ((B, W, D), (B, W, L))
    w_a, b_a, w_h, v = (
        value.detach().numpy()
        for value in (attention.key.weight, attention.key.bias, attention.query.weight, attention.energy.weight[0])
    )
    for b in range(B):
        for w in range(W):
            h = query[b, w].numpy()
            odds = np.exp([v @ np.tanh(w_a @ grid[b, place].numpy() + b_a + w_h @ h) for place in range(L)])
            expected = odds / odds.sum()
            np.testing.assert_allclose(weights[b, w].detach(), expected, atol=1e-6)
            np.testing.assert_allclose(mean[b, w].detach(), expected @ grid[b].numpy(), atol=1e-6)


def test_equal_places_count_the_same_and_one_that_stands_out_alone(attention):
    grid = torch.ones(1, L, D)
    mean, weights = attention(torch.randn(1, W, H), attention.keys(grid), grid)
    torch.testing.assert_close(weights, torch.full((1, W, L), 1 / L))
    torch.testing.assert_close(mean, torch.ones(1, W, D))
    with torch.no_grad():
        attention.energy.weight.fill_(100.0)
        attention.key.weight.fill_(1.0)
        attention.query.weight.zero_()
        grid[0, 3], grid[0, :3], grid[0, 4] = 0.5, -0.5, -0.5
        _, weights = attention(torch.randn(1, W, H), attention.keys(grid), grid)
    torch.testing.assert_close(weights[0], torch.eye(L)[3].expand(W, L))


def test_keys_are_for_reuse_and_stay_as_they_are(attention):
    grid, query = torch.randn(B, L, D), torch.randn(B, W, H)
    keys = attention.keys(grid)
    before = keys.clone()
    first = attention(query, keys, grid)
    assert torch.equal(keys, before)
    for one, other in zip(first, attention(query, keys, grid), strict=True):
        assert torch.equal(one, other)


def test_weights_are_in_full_precision_under_autocast(attention):
    grid, query = torch.randn(B, 200, D), torch.randn(B, W, H)
    with torch.autocast("cpu", torch.bfloat16):
        grid = grid.bfloat16()
        mean, weights = attention(query, attention.keys(grid), grid)
    assert (mean.dtype, weights.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(weights.sum(2), torch.ones(B, W), atol=1e-6, rtol=0)
