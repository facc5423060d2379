"""Rules, by the letter."""

from __future__ import annotations

import random

import pytest
import torch

from project.decoding.rules import Rules
from project.errors import ConfigError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"start": -1}, "start: must be at least 0; got -1"),
        ({"end": -2}, "end: must be at least 0; got -2"),
        ({"max_length": 0}, "max_length: must be at least 1; got 0"),
        ({"min_length": -1}, "min_length: must be at least 0; got -1"),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram: must be at least 0; got -1"),
        ({"min_length": 9}, "min_length: with 9 tokens before the end no hypothesis ends within 9; choose fewer, "
                            "or raise max_length"),
        ({"banned": (3, 2)}, "banned: no hypothesis could end; leave out the end token, 2"),
        ({"banned": (3, -1)}, "banned: tokens are numbered from 0; leave out -1"),
    ],
)  # fmt: skip
def test_contradictions_are_one_line(options, line):
    with pytest.raises(ConfigError) as caught:
        Rules(**{"start": 1, "end": 2, "max_length": 9, **options})
    assert str(caught.value) == f"model.decoding.{line}"


def test_a_token_outside_the_vocabulary_is_a_mistake():
    rules = Rules(start=50, end=2, max_length=9, banned=(4,))
    rules.check_vocabulary(5)
    with pytest.raises(
        ConfigError, match=r"^model\.decoding\.banned: there is no token 4 among 4; choose one below 4$"
    ):
        rules.check_vocabulary(4)
    with pytest.raises(ConfigError, match=r"^model\.decoding\.end: there is no token 2 among 2; choose one below 2$"):
        rules.check_vocabulary(2)


def test_extremes_are_allowed():
    Rules(start=0, end=0, max_length=1).check_vocabulary(1)
    Rules(start=0, end=1, max_length=2, min_length=1, no_repeat_ngram=100, banned=(0, 0, 2))


@pytest.mark.parametrize("banned", [(), (4, 3, 4)])
def test_banned_tokens_are_indices(banned):
    tokens = Rules(start=0, end=1, max_length=2, banned=banned).banned_tokens(CPU)
    assert tokens.dtype == torch.int64
    assert tokens.tolist() == sorted(set(banned))


def is_forbidden(rules: Rules, tokens: list[int], token: int) -> bool:
    sequence, n = [*tokens, token], rules.no_repeat_ngram
    ngrams = [tuple(sequence[i : i + n]) for i in range(len(sequence) - n + 1)] if n else []
    repeats = bool(ngrams) and ngrams[-1] in ngrams[:-1]
    return token in rules.banned or (token == rules.end and len(tokens) < rules.min_length) or repeats


def test_exactly_what_is_forbidden_becomes_impossible(random_rules):
    choices = random.Random(0)
    for case in range(150):
        generator = torch.Generator().manual_seed(case)
        vocabulary = choices.randint(4, 7)
        rules = random_rules(choices, vocabulary, end=choices.randrange(4), longest=12)
        tokens = torch.randint(vocabulary, (2, 3, choices.randrange(rules.max_length)), generator=generator)
        log_probs = torch.randn(2, 3, vocabulary, generator=generator)
        result = rules.forbid_(log_probs.clone(), tokens, rules.banned_tokens(CPU))
        for b in range(2):
            for w in range(3):
                for token in range(vocabulary):
                    forbidden = is_forbidden(rules, tokens[b, w].tolist(), token)
                    assert result[b, w, token] == (-torch.inf if forbidden else log_probs[b, w, token])


def test_it_works_in_place_and_on_what_is_impossible_already():
    rules = Rules(start=1, end=0, max_length=9, banned=(2,), no_repeat_ngram=1)
    log_probs = torch.full((1, 1, 5), -torch.inf)
    assert rules.forbid_(log_probs, torch.tensor([[[3, 4, 3]]]), rules.banned_tokens(CPU)) is log_probs
    assert (log_probs == -torch.inf).all()
