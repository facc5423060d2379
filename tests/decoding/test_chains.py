"""Greedy search in plain Python, and random hypotheses against their exact distribution."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
import torch
from scipy import stats

from project.decoding import Rules, greedy_search, sample
from project.decoding.chains import _draw, _search
from project.errors import ConfigError
from tests.waits import Waits

RULES = Rules(start=1, end=0, max_length=6)


def assert_same(one, other):
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", [{}, {"end_bonus": 2.0}, {"end_bonus": -5.0}, {"impossible": 0.5}], ids=str)
def test_greedy_takes_the_most_probable_token_that_is_allowed(hash_model, random_rules, allowed_tokens, kind):
    choices = random.Random(0)
    model = hash_model(6, **kind)
    for _ in range(25):
        rules = random_rules(choices, 6, longest=8)
        found = greedy_search(model, *model.start(range(5)), rules)
        assert found.tokens.shape == (5, 1, found.lengths.max())
        for seed in range(5):
            tokens, log_probs = [], []
            while len(tokens) < rules.max_length and tokens[-1:] != [rules.end]:
                options = allowed_tokens(model, seed, rules, tokens)
                tokens.append(max(options, key=options.get))
                log_probs.append(options[tokens[-1]])
            length = len(tokens)
            assert found.lengths[seed].item() == length
            assert found.tokens[seed, 0].tolist() == tokens + [0] * (found.tokens.shape[2] - length)
            assert found.finished[seed].item() == (tokens[-1] == rules.end)
            expected = torch.tensor(log_probs)
            torch.testing.assert_close(found.log_probs[seed, 0, :length], expected, atol=1e-5, rtol=0)
            assert (found.log_probs[seed, 0, length:] == 0).all()
            torch.testing.assert_close(found.scores[seed, 0], expected.sum())


def test_a_greedy_caption_does_not_depend_on_the_batch_or_on_stopping_early(hash_model, monkeypatch):
    model = hash_model(300, sharpness=9.0, end_bonus=3.5)
    rules = Rules(start=1, end=0, max_length=30, no_repeat_ngram=2)
    together = greedy_search(model, *model.start(range(32)), rules)
    assert len({batch for batch, _ in model.calls}) > 2, "images that are done have left"
    assert {width for _, width in model.calls} == {1}
    order = torch.randperm(32, generator=generator())
    assert_same([part[order] for part in together], greedy_search(model, *model.start(order), rules))
    for seed in range(32):
        alone = greedy_search(model, *model.start([seed]), rules)
        assert alone.word_ids()[0] == together.word_ids()[seed]
        assert torch.equal(alone.scores[0], together.scores[seed])
    for every in (4, 10**9):
        monkeypatch.setattr("project.decoding.early_stop.steps_between_checks", lambda device, n=every: n)
        assert_same(together, greedy_search(model, *model.start(range(32)), rules))


def distribution(model, rules, allowed, temperature, top_k, top_p):
    """The exact probability of every hypothesis of image 0."""
    result, stack = {}, [((), 1.0)]
    while stack:
        prefix, share = stack.pop()
        ranked = sorted(allowed(model, 0, rules, prefix).items(), key=lambda item: -item[1])[:top_k]
        weights = [math.exp(value / temperature) for _, value in ranked]
        probabilities = [weight / sum(weights) for weight in weights]
        before = [sum(probabilities[:i]) for i in range(len(probabilities))]
        kept = [i for i in range(len(probabilities)) if i == 0 or top_p is None or before[i] < top_p]
        total = sum(probabilities[i] for i in kept)
        for i in kept:
            tokens, product = (*prefix, ranked[i][0]), share * probabilities[i] / total
            if tokens[-1] == rules.end or len(tokens) == rules.max_length:
                result[tokens] = product
            else:
                stack.append((tokens, product))
    return result


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, None, None), (0.5, None, None), (2.5, None, None), (1.0, 2, None), (1.0, None, 0.6), (0.7, 3, 0.8),
     (1.0, 50, 1.0), (1.0, None, 1e-9), (1.0, 1, None)],
)  # fmt: skip
@pytest.mark.parametrize("impossible", [0.0, 0.4])
def test_samples_have_exactly_their_distribution(hash_model, allowed_tokens, temperature, top_k, top_p, impossible):
    model = hash_model(5, sharpness=3.0, impossible=impossible)
    rules = Rules(start=1, end=0, max_length=3, min_length=1, banned=(1,), no_repeat_ngram=1)
    number = 20_000
    found = sample(model, *model.start([0]), rules, number, temperature, top_k, top_p, generator())
    counts = Counter(
        tuple(tokens[:length])
        for tokens, length in zip(found.tokens[0].tolist(), found.lengths[0].tolist(), strict=True)
    )
    expected = distribution(model, rules, allowed_tokens, temperature, top_k, top_p)
    assert counts.keys() <= expected.keys()
    assert all(counts[tokens] for tokens, share in expected.items() if share * number > 20)
    square = sum((counts[tokens] - number * share) ** 2 / (number * share) for tokens, share in expected.items())
    assert square <= stats.chi2.ppf(0.999, max(len(expected) - 1, 1))


def test_samples_are_independent_of_each_other_and_of_other_images(hash_model):
    model = hash_model(4, sharpness=1.0)
    # the same image twice, and pairs of samples: what one is says nothing about another
    found = sample(model, *model.start([3] * 4000), Rules(start=1, end=0, max_length=1), 2, generator=generator(1))
    table = torch.zeros(4, 4).index_put(
        (found.tokens[:, 0, 0], found.tokens[:, 1, 0]), torch.tensor(1.0), accumulate=True
    )
    assert stats.chi2_contingency(table.numpy()).pvalue > 1e-3
    assert (found.scores.diff(dim=1) > 0).any(), "they are not sorted"


def test_the_coldest_samples_are_the_most_probable_ones_of_each_image():
    # in the second one everything likely is forbidden; over this temperature its sums would be infinite
    log_probs = torch.tensor([[[-0.1, -3.0, -2.0]], [[-90.0, -60.0, -50.0]]])
    assert _draw(log_probs, 8, 1e-37, None, None, generator()).tolist() == [[0] * 8, [2] * 8]


def test_the_generator_decides(hash_model):
    model = hash_model(50)
    start = model.start(range(4))
    one, same, other = (sample(model, *start, RULES, 3, generator=generator(seed)) for seed in (0, 0, 1))
    assert_same(one, same)
    assert not torch.equal(one.tokens[:, :, 0], other.tokens[:, :, 0])
    torch.manual_seed(5)
    of_global = sample(model, *start, RULES, 3)
    torch.manual_seed(5)
    assert_same(of_global, sample(model, *start, RULES, 3))


def test_log_probs_are_the_models_whatever_the_filters(hash_model, teacher_forced):
    model = hash_model(8, end_bonus=1.0)
    found = sample(model, *model.start(range(6)), RULES, 4, 0.5, 5, 0.9, generator())
    for seed in range(6):
        for i in range(4):
            length = found.lengths[seed, i]
            tokens = found.tokens[seed, i, :length].tolist()
            expected = torch.tensor(teacher_forced(model, seed, tokens), dtype=torch.float32)
            torch.testing.assert_close(found.log_probs[seed, i, :length], expected, atol=1e-5, rtol=0)
            assert (found.tokens[seed, i, length:] == 0).all()
            assert (found.log_probs[seed, i, length:] == 0).all()
    torch.testing.assert_close(found.scores, found.log_probability)


@pytest.mark.parametrize("temperature", [1e-30, 1e-3])
def test_no_temperature_is_too_low(hash_model, temperature):
    model = hash_model(20)
    greedy = greedy_search(model, *model.start(range(5)), RULES)
    cold = sample(model, *model.start(range(5)), RULES, 2, temperature, generator=generator())
    for i in range(2):
        assert torch.equal(cold.tokens[:, i : i + 1], greedy.tokens)
    many = torch.full((1, 1, 9487), -9.2)  # which a float32 can no more hold when it is divided
    many[0, 0, 7] = -9.1
    assert _draw(many, 3, 1.2e-38, None, None, generator()).tolist() == [[7] * 3]


def test_top_p_keeps_the_fewest_tokens_that_reach_it():
    log_probs = torch.tensor([0.125, 0.5, 0.25, 0.125]).log().view(1, 1, 4)
    for top_p, kept in [(0.01, {1}), (0.5, {1}), (0.51, {1, 2}), (0.75, {1, 2}), (0.8, {0, 1, 2}), (1.0, {0, 1, 2, 3})]:
        drawn = _draw(log_probs, 500, 1.0, None, top_p, generator())
        assert set(drawn[0].tolist()) == kept
    # within the two most probable, of which the first has two thirds
    assert set(_draw(log_probs, 500, 1.0, 2, 0.6, generator())[0].tolist()) == {1}
    assert set(_draw(log_probs, 500, 1.0, 2, 0.7, generator())[0].tolist()) == {1, 2}


def test_the_model_runs_once_for_all_samples_of_the_first_step_and_not_after_the_last(hash_model):
    model = hash_model(10, end_bonus=6.0)
    sample(model, *model.start(range(8)), Rules(start=1, end=0, max_length=50), 5, generator=generator())
    assert model.calls[0] == (8, 1)
    assert {width for _, width in model.calls[1:]} <= {5}
    assert len(model.calls) < 20
    batches = [batch for batch, _ in model.calls]
    assert batches == sorted(batches, reverse=True)
    assert batches[-1] < 8


@pytest.mark.parametrize("value", [0.0, -torch.inf, torch.nan], ids=str)
@pytest.mark.parametrize("filters", [(None, None), (3, None), (None, 0.5), (3, 0.5)], ids=str)
def test_equals_and_nothing_at_all_are_safe(value, filters):
    scores = torch.full((2, 1, 400), value)

    def step(tokens, memory, context):
        return scores[: len(tokens)].expand(-1, tokens.shape[1], -1), memory

    context = torch.zeros(2, 3)
    for found in (
        greedy_search(step, None, context, RULES),
        sample(step, None, context, RULES, 3, 0.7, *filters, generator()),
    ):
        assert not found.log_probs.isnan().any()
        assert not found.scores.isnan().any()
        if value == 0:
            torch.testing.assert_close(found.log_probs[:, :, 0], torch.full_like(found.scores, -math.log(400)))
        else:
            assert found.finished.all()
            assert (found.lengths == 1).all()
            assert (found.scores == -torch.inf).all()


def test_the_host_waits_for_nothing_but_a_rare_check(hash_model, monkeypatch):
    monkeypatch.setattr("project.decoding.early_stop.steps_between_checks", lambda device: 4)
    logits = hash_model(300, end_bonus=-1e4)._scores(torch.arange(4)[:, None])
    step = lambda tokens, memory, context: (logits.expand(-1, tokens.shape[1], -1), memory)  # noqa: E731
    rules = Rules(start=1, end=0, max_length=20, banned=(3,), no_repeat_ngram=3)
    for search in (
        lambda: greedy_search(step, torch.zeros(4, 1, 2), None, rules),
        lambda: sample(step, torch.zeros(4, 1, 2), None, rules, 3, 0.7, 50, 0.9, generator()),
    ):
        with Waits() as waits:
            search()
        assert waits.count == 4 + 1, "after 4, 8, 12 and 16 steps, and for the longest at the end"


def test_a_device_without_data_can_run_the_loop():
    def step(tokens, memory, context):
        assert tokens.is_meta
        return torch.empty(*tokens.shape, 999, device="meta"), [memory[0] + 1]

    rules = Rules(start=1, end=0, max_length=4, min_length=2, banned=(3,), no_repeat_ngram=2)
    memory, context = [torch.empty(5, 1, 7, device="meta")], torch.empty(5, 3, device="meta")
    for filters in ((None, None), (9, 0.5), (None, 0.5)):
        choose = lambda log_probs, f=filters: _draw(log_probs, 3, 0.9, *f, None)  # noqa: E731
        found = _search(step, memory, context, rules, 3, choose)
        assert found.tokens.shape == (5, 3, 4)
        assert found.tokens.is_meta


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"num_samples": 0}, "num_samples: must be at least 1; got 0"),
        ({"temperature": 0.0}, "temperature: must be above 0; got 0.0"),
        ({"temperature": math.nan}, "temperature: must be above 0; got nan"),
        ({"temperature": math.inf}, "temperature: must be above 0; got inf"),
        ({"top_k": 0}, "top_k: must be at least 1, or none; got 0"),
        ({"top_p": 0.0}, "top_p: must be above 0 and at most 1; got 0.0"),
        ({"top_p": 1.1}, "top_p: must be above 0 and at most 1; got 1.1"),
    ],
)
def test_mistakes_are_one_line(hash_model, options, line):
    model = hash_model()
    with pytest.raises(ConfigError) as caught:
        sample(model, *model.start([0]), RULES, **{"num_samples": 2, **options})
    assert str(caught.value) == f"model.decoding.{line}"
