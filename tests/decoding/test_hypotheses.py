"""What a search returns."""

from __future__ import annotations

import torch

from project.decoding.hypotheses import Hypotheses, no_hypotheses

FOUND = Hypotheses(
    tokens=torch.tensor([[[4, 3, 0, 0, 0], [0, 0, 0, 0, 0]], [[5, 6, 7, 0, 0], [0, 0, 0, 0, 0]]]),
    log_probs=torch.tensor([[[-1.0, -2, -3, 0, 0], [-1, 0, 0, 0, 0]], [[-1, -1, -1, 0, 0], [0, 0, 0, 0, 0]]]),
    lengths=torch.tensor([[3, 1], [3, 0]]),
    finished=torch.tensor([[True, True], [False, False]]),
    scores=torch.tensor([[-6.0, -1e30], [-3, -torch.inf]]),
)


def test_the_log_probability_is_the_sum():
    assert FOUND.log_probability.tolist() == [[-6, -1], [-3, -torch.inf]]


def test_word_ids_leave_out_the_end_where_there_is_one():
    assert FOUND.word_ids() == [[[4, 3], []], [[5, 6, 7], []]]


def test_trimming_goes_to_the_longest():
    trimmed = FOUND.trimmed()
    assert trimmed.tokens.shape == trimmed.log_probs.shape == (2, 2, 3)
    assert trimmed.word_ids() == FOUND.word_ids()
    nothing = no_hypotheses(2, 3, 4, 9, torch.device("cpu"))
    assert nothing.trimmed().tokens.tolist() == [[[9]] * 3] * 2
    assert nothing.word_ids() == [[[]] * 3] * 2


def test_what_is_impossible_has_no_finite_score():
    shown = FOUND._replace(log_probs=FOUND.log_probs.where(FOUND.log_probs > -3, -1e30)).without_impossible(-1e20)
    assert shown.scores.tolist() == [[-6, -torch.inf], [-3, -torch.inf]]
    assert shown.log_probs[0, 0].tolist() == [-1, -2, -torch.inf, 0, 0]
