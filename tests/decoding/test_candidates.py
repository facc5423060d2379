"""The next tokens of each hypothesis, against topk of the whole vocabulary."""

from __future__ import annotations

import pytest
import torch

from project.decoding.candidates import FORCED, Next, largest, next_tokens
from project.decoding.rules import Rules

RULES = Rules(start=1, end=0, max_length=9)
NONE_BANNED = torch.tensor([], dtype=torch.int64)
NO_TOKENS = torch.zeros(2, 3, 0, dtype=torch.int64)


@pytest.mark.parametrize("size", [3, 64, 255, 256, 257, 640, 1279, 1280, 9487])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_largest_are_those_of_topk(size, count):
    values = torch.randn(2, 3, size, generator=torch.Generator().manual_seed(size))
    values[0, 0, : size // 2] = -torch.inf
    found, places = largest(values, min(count, size))
    expected = values.topk(min(count, size), dim=2)
    assert torch.equal(found, expected.values)
    assert torch.equal(places, expected.indices)


@pytest.mark.parametrize("size", [100, 1000])
def test_among_equals_none_is_taken_twice(size):
    values = torch.zeros(2, 3, size)
    values[1] = -torch.inf
    values[1, :, 77] = -2.0
    found, places = largest(values, 5)
    assert all(len(set(row)) == 5 for row in places.flatten(0, 1).tolist())
    assert torch.equal(found, values.gather(2, places))
    assert places[1, :, 0].tolist() == [77] * 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_scores_of_any_kind_become_log_probabilities_and_stay_as_they_are(dtype):
    logits = torch.randn(2, 3, 7).to(dtype)
    before = logits.clone()
    rules = Rules(start=1, end=0, max_length=9, min_length=2, banned=(3,))
    words = next_tokens(logits, NO_TOKENS, rules, rules.banned_tokens(logits.device))
    expected = logits.double().log_softmax(2)
    assert torch.equal(logits, before)
    assert words.log_probs.dtype == torch.float32
    torch.testing.assert_close(words.of_end.double(), expected[:, :, 0], atol=1e-6, rtol=0)
    expected[:, :, [0, 3]] = -torch.inf
    torch.testing.assert_close(words.log_probs.double(), expected, atol=1e-6, rtol=0)
    again = next_tokens(next_tokens(logits, NO_TOKENS, RULES, NONE_BANNED).log_probs, NO_TOKENS, RULES, NONE_BANNED)
    torch.testing.assert_close(again.log_probs.double(), logits.double().log_softmax(2), atol=1e-6, rtol=0)


def test_a_hypothesis_without_a_token_may_end():
    log_probs = torch.tensor([[[-1.0, -2, -3], [-torch.inf] * 3, [torch.nan, -torch.inf, torch.nan]]])
    words = Next(log_probs, torch.tensor([[-9.0, -7.0, FORCED]]))
    values, tokens = words.best(2, end=2)
    assert tokens[0, :, 0].tolist() == [0, 2, 2]
    assert values[0, 0].tolist() == [-1, -2]
    assert values[0, 1].tolist() == [-7, -torch.inf]
    assert values[0, 2].tolist() == [pytest.approx(FORCED), -torch.inf]
    values, tokens = words.or_end(log_probs[:, :, 1], torch.tensor([[1, 1, 1]]), end=2)
    assert tokens.tolist() == [[1, 2, 2]]
    assert values.tolist() == [[-2, -7, pytest.approx(FORCED)]]


@pytest.mark.parametrize("nothing", [-torch.inf, torch.nan])
def test_a_model_that_gives_nothing_gives_the_end(nothing):
    words = next_tokens(torch.full((2, 3, 5), nothing), NO_TOKENS, RULES, NONE_BANNED)
    values, tokens = words.best(4, end=0)
    assert (tokens[:, :, 0] == 0).all()
    assert (values[:, :, 0] == FORCED).all()
    assert (values[:, :, 1:] == -torch.inf).all()


def test_a_mask_of_the_least_float_is_as_good_as_infinity():
    scores = torch.full((1, 1, 4), torch.finfo(torch.float32).min)
    scores[0, 0, 2] = 1.0
    rules = Rules(start=1, end=0, max_length=9, banned=(2,))
    words = next_tokens(scores, NO_TOKENS[:1, :1], rules, rules.banned_tokens(scores.device))
    values, tokens = words.best(2, end=0)
    assert tokens[0, 0, 0] == 0
    assert values[0, 0, 0] == FORCED
