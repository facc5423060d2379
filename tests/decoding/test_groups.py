"""Which continuations a beam takes, against a choice among the whole vocabulary in plain Python."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
import torch

from project.decoding.candidates import FORCED
from project.decoding.groups import Groups
from project.decoding.hypotheses import no_hypotheses


def naive(log_probs, sums, slots, size, diversity):
    """One image's choice: (parent, token, sum) of each group."""
    result, chosen = [], Counter()
    for group, free in enumerate(slots):
        rows = range(group * size, (group + 1) * size) if len(sums) > 1 else [0]
        candidates = [
            (sums[r] + log_probs[r][v] - diversity * chosen[v], r, v, sums[r] + log_probs[r][v])
            for r in rows
            for v in range(len(log_probs[r]))
            if sums[r] + log_probs[r][v] > -math.inf
        ]
        candidates.sort(key=lambda candidate: -candidate[0])
        result.append([candidate[1:] for candidate in candidates[:free]])
        chosen += Counter(token for _, token, _ in result[-1])
    return result


def taken(choice, image, group, size):
    places = range(group * size, (group + 1) * size)
    return [
        (choice.parents[image, i].item(), choice.tokens[image, i].item(), choice.sums[image, i].item())
        for i in places
        if choice.taken[image, i]
    ]


@pytest.mark.parametrize(("beam_size", "count"), [(1, 1), (4, 1), (6, 2), (6, 3), (4, 4)])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("diversity", [0.0, 0.7, 50.0])
def test_it_is_the_choice_among_all(beam_size, count, first, diversity):
    choices = random.Random(beam_size)
    groups = Groups(beam_size, count, diversity)
    size = beam_size // count
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        vocabulary, batch, rows = choices.randint(2, 9), 3, 1 if first else beam_size
        log_probs = torch.randn(batch, rows, vocabulary, generator=generator, dtype=torch.float64).log_softmax(2)
        log_probs[torch.rand(log_probs.shape, generator=generator) < 0.2] = -torch.inf
        sums = -torch.rand(batch, rows, generator=generator, dtype=torch.float64)
        if not first:
            sums[torch.rand(sums.shape, generator=generator) < 0.2] = -torch.inf
        slots = torch.randint(size + 1, (batch, count), generator=generator)
        choice = groups.choose(*log_probs.topk(min(beam_size, vocabulary), dim=2), sums, slots)
        assert all(part.shape == (batch, beam_size) for part in choice)
        for image in range(batch):
            expected = naive(log_probs[image].tolist(), sums[image].tolist(), slots[image].tolist(), size, diversity)
            for group in range(count):
                assert taken(choice, image, group, size) == expected[group]
        of_tokens = sums.gather(1, choice.parents) + choice.log_probs
        torch.testing.assert_close(of_tokens[choice.taken], choice.sums[choice.taken])


def test_the_penalty_does_not_reach_other_images():
    # both groups of the first image like token 0 best, and the only group that chooses 1 is in the second image
    log_probs = torch.tensor([[[-0.1, -0.2, -9.0]], [[-0.2, -0.1, -9.0]]])
    values, tokens = log_probs.topk(2, dim=2)
    choice = Groups(2, 2, 5.0).choose(values, tokens, torch.zeros(2, 1), torch.ones(2, 2, dtype=torch.int64))
    assert choice.tokens.tolist() == [[0, 1], [1, 0]]


def test_a_group_that_has_no_slot_penalises_nothing():
    values, tokens = torch.tensor([[[-0.1, -0.2, -9.0]]]).topk(2, dim=2)
    choice = Groups(2, 2, 5.0).choose(values, tokens, torch.zeros(1, 1), torch.tensor([[0, 1]]))
    assert choice.taken.tolist() == [[False, True]]
    assert choice.tokens[0, 1] == 0


def test_what_is_impossible_is_taken_only_where_there_is_nothing_else():
    tokens = torch.tensor([[[4, 5], [6, 7]]])
    slots = torch.tensor([[2]])
    impossible = torch.tensor([[[FORCED, -torch.inf], [FORCED, -torch.inf]]])
    choice = Groups(2, 1, 0.0).choose(impossible, tokens, torch.zeros(1, 2), slots)
    assert choice.taken.tolist() == [[True, False]]
    assert choice.tokens[0, 0] == 4, "the earlier hypothesis"
    impossible[0, 1, 0] = -50.0
    choice = Groups(2, 1, 0.0).choose(impossible, tokens, torch.zeros(1, 2), slots)
    assert choice.taken.tolist() == [[True, False]]
    assert choice.tokens[0, 0] == 6
    dead = torch.full((1, 2), -torch.inf)
    assert not Groups(2, 1, 0.0).choose(impossible, tokens, dead, slots).taken.any()


def test_of_equals_the_earlier_hypothesis_and_the_earlier_candidate():
    choice = Groups(3, 1, 0.0).choose(
        torch.full((1, 3, 3), -1.0), torch.arange(9).view(1, 3, 3), torch.zeros(1, 3), torch.tensor([[3]])
    )
    assert choice.tokens.tolist() == [[0, 1, 2]]


def test_slots_are_shared_equally():
    like = no_hypotheses(2, 1, 3, 0, torch.device("cpu"))
    assert Groups(6, 3, 0.0).slots(like).tolist() == [[2, 2, 2]] * 2
