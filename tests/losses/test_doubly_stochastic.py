"""The doubly stochastic term, in loops."""

from __future__ import annotations

import pytest
import torch

from project.losses import doubly_stochastic


def by_loops(attention: torch.Tensor, lengths: list[list[int]]) -> float:
    penalties = []
    for image, counts in enumerate(lengths):
        for caption, count in enumerate(counts):
            if count:
                places = attention[image, caption].tolist()
                sums = [sum(places[t][i] for t in range(count)) for i in range(attention.shape[3])]
                penalties.append(sum((1 - total) ** 2 for total in sums))
    return sum(penalties) / len(penalties)


def test_the_formula_over_words_alone_and_over_captions_that_there_are():
    torch.manual_seed(0)
    lengths = [[4, 2, 0], [1, 3, 4]]  # the first image has but two captions
    attention = torch.randn(2, 3, 4, 6, dtype=torch.float64).softmax(3)
    words = torch.arange(4) < torch.tensor(lengths)[..., None]
    found = doubly_stochastic(attention, words)
    assert found.shape == ()
    assert found.item() == pytest.approx(by_loops(attention, lengths), rel=1e-12)
    changed = torch.where(words[..., None], attention, 1.0)  # what lies behind the end does not count
    assert doubly_stochastic(changed, words).item() == pytest.approx(found.item(), rel=1e-12)


def test_nothing_is_asked_of_attention_that_leaves_no_place_out():
    words = torch.ones(1, 1, 4, dtype=torch.bool)
    assert doubly_stochastic(torch.eye(4)[None, None], words).item() == 0
    staring = torch.zeros(1, 1, 4, 4)
    staring[..., 2] = 1
    assert doubly_stochastic(staring, words).item() == 3 + 9  # three places of 0, one of 4


def test_its_gradient_draws_attention_to_what_was_left_out():
    attention = torch.full((1, 1, 2, 3), 0.1, requires_grad=True)
    doubly_stochastic(attention, torch.tensor([[[True, False]]])).backward()
    assert (attention.grad[0, 0, 0] < 0).all()
    assert (attention.grad[0, 0, 1] == 0).all()


def test_without_any_word_it_is_nothing():
    assert doubly_stochastic(torch.rand(1, 2, 3, 4), torch.zeros(1, 2, 3, dtype=torch.bool)).item() == 0
