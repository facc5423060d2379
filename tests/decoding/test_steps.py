"""Several networks as one."""

from __future__ import annotations

import pytest
import torch

from project.decoding import Rules, beam_search, ensemble, greedy_search


def test_an_ensemble_is_the_mean_of_probabilities():
    def fixed(logits):
        return lambda tokens, memory, context: (logits, memory + 1)

    # logits of any offset, log-probabilities and low precision alike
    logits = [torch.randn(2, 3, 7) + 5, torch.randn(2, 3, 7).log_softmax(2), torch.randn(2, 3, 7).bfloat16()]
    step = ensemble([fixed(one) for one in logits])
    scores, memory = step(torch.zeros(2, 3).long(), tuple(torch.full((2, 3), i) for i in range(3)), (None, None, None))
    expected = torch.stack([one.double().softmax(2) for one in logits]).mean(0).log()
    torch.testing.assert_close(scores.double(), expected, atol=1e-6, rtol=0)
    assert [int(m[0, 0]) for m in memory] == [1, 2, 3]


def test_what_one_excludes_the_others_may_allow():
    one = torch.tensor([[[0.0, -torch.inf, -torch.inf]]])
    other = torch.tensor([[[-torch.inf, 0.0, -torch.inf]]])
    step = ensemble([lambda *_: (one, None), lambda *_: (other, None)])
    scores, _ = step(torch.zeros(1, 1).long(), (None, None), (None, None))
    torch.testing.assert_close(scores.exp(), torch.tensor([[[0.5, 0.5, 0.0]]]))


def test_searches_take_an_ensemble_for_a_network(hash_model):
    rules = Rules(start=1, end=0, max_length=6)
    one, other = hash_model(sharpness=5.0), hash_model(sharpness=2.0)
    memory, context = one.start(range(6))
    alone = beam_search(one, memory, context, rules, 3)
    twice = beam_search(ensemble([one, one]), (memory, memory), (context, context), rules, 3)
    assert torch.equal(alone.tokens, twice.tokens)
    torch.testing.assert_close(alone.log_probs, twice.log_probs)
    both = greedy_search(ensemble([one, other]), (memory, memory), (context, context), rules)
    for seed, [tokens] in enumerate(both.tokens.tolist()):
        for i, token in enumerate(tokens[: both.lengths[seed, 0]]):
            mean = (one.log_probs(seed, tokens[:i]).exp() + other.log_probs(seed, tokens[:i]).exp()) / 2
            assert mean.argmax() == token
            assert both.log_probs[seed, 0, i].item() == pytest.approx(mean[token].log().item(), abs=1e-5)


def test_a_tree_for_every_network():
    step = ensemble([lambda *_: (torch.zeros(1, 1, 3), None)] * 2)
    with pytest.raises(ValueError, match="zip"):
        step(torch.zeros(1, 1).long(), (None,), (None,))
