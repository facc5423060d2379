"""Answers have captions of at most so many words, and log-probabilities that add up."""

from __future__ import annotations

import pytest
import torch

from project.data.captions.vocabulary import END, Vocabulary
from project.decoding import Hypotheses
from project.tasks.caption_answers import answers_of

VOCABULARY = Vocabulary(["红", "色", "x"])  # 4, 5 and 6


def hypotheses() -> Hypotheses:
    """Of one image: three words and no end; two words and the end; none."""
    return Hypotheses(
        tokens=torch.tensor([[[4, 5, 6], [4, 6, END], [END, END, END]]]),
        log_probs=torch.tensor([[[-1.0, -2.0, -4.0], [-1.0, -3.0, -5.0], [0.0, 0.0, 0.0]]]),
        lengths=torch.tensor([[3, 3, 0]]),
        finished=torch.tensor([[False, True, False]]),
        scores=torch.tensor([[-7.0, -9.0, -torch.inf]]),
    )


def test_answers_of_caption_that_would_go_on_is_cut_at_max_words():
    (answer,) = answers_of(hypotheses(), 2, VOCABULARY, "characters")
    assert list(answer) == ["caption", "log_probability", "finished", "words", "alternatives"]
    assert (answer["caption"], answer["log_probability"], answer["finished"]) == ("红色", -3.0, False)
    assert answer["words"] == [{"word": "红", "log_probability": -1.0}, {"word": "色", "log_probability": -2.0}]
    assert answer["alternatives"] == [
        {"caption": "红色x", "log_probability": -7.0, "score": -7.0, "finished": False},
        {"caption": "红x", "log_probability": -9.0, "score": -9.0, "finished": True},
    ]


def test_answers_of_caption_that_ends_in_time_is_whole():
    found = Hypotheses(*(part[:, 1:] for part in hypotheses()))
    (answer,) = answers_of(found, 2, VOCABULARY, "ptb")
    assert (answer["caption"], answer["finished"], len(answer["words"])) == ("红 x", True, 2)
    assert answer["log_probability"] == pytest.approx(-9.0)
