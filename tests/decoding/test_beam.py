"""Beam search against brute force and against the classical rule in plain Python, on arbitrary distributions."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from project.decoding import LengthPenalty, Rules, beam_search, greedy_search
from project.decoding.beam import _search
from project.decoding.groups import Groups
from project.errors import ConfigError
from tests.waits import Waits

PENALTIES = [LengthPenalty(), LengthPenalty("average"), LengthPenalty("average", 0.4), LengthPenalty("gnmt", 1.5)]
by_name = pytest.mark.parametrize("penalty", PENALTIES, ids=lambda penalty: f"{penalty.name}{penalty.alpha:g}")
KINDS = [{}, {"sharpness": 8.0}, {"end_bonus": 2.5}, {"end_bonus": -3.0}, {"impossible": 0.5}]


def token_lists(found, image):
    """The hypotheses that there are, with their end tokens."""
    return [
        tuple(tokens[:length])
        for tokens, length in zip(found.tokens[image].tolist(), found.lengths[image].tolist(), strict=True)
        if length
    ]


def assert_well_formed(found, rules):
    places = torch.arange(found.tokens.shape[2])
    after = places >= found.lengths[:, :, None]
    assert (found.tokens[after] == rules.end).all()
    assert (found.log_probs[after] == 0).all()
    assert not found.log_probs.isnan().any()
    assert not found.scores.isnan().any()
    assert (found.lengths[:, 0] >= 1).all(), "there is always something"
    assert found.lengths.max() == found.tokens.shape[2] <= rules.max_length
    assert (found.scores.diff(dim=1).nan_to_num(0.0) <= 0).all()
    last = found.tokens.gather(2, (found.lengths - 1).clamp_min(0)[:, :, None])[:, :, 0]
    exists = found.lengths > 0
    assert torch.equal(found.finished[exists], last[exists] == rules.end), "nothing grows after its end"
    assert (((found.tokens == rules.end) & ~after).sum(2) <= 1).all()
    assert (found.finished | (found.lengths == rules.max_length))[exists].all()
    for image in range(len(found.tokens)):
        hypotheses = token_lists(found, image)
        assert len(set(hypotheses)) == len(hypotheses), "none is there twice"


@by_name
def test_a_beam_of_one_is_greedy_search(hash_model, random_rules, penalty):
    choices = random.Random(1)
    for kind in [*KINDS, {"impossible": 0.9}, {"ties": True}]:
        model = hash_model(vocabulary=6, **kind)
        start = model.start(range(12))
        for _ in range(15):
            rules = random_rules(choices, 6, longest=9)
            greedy = greedy_search(model, *start, rules)
            beam = beam_search(model, *start, rules, 1, length_penalty=penalty)
            assert_well_formed(beam, rules)
            for name in ("tokens", "log_probs", "lengths", "finished"):
                assert torch.equal(getattr(greedy, name), getattr(beam, name)), name
            torch.testing.assert_close(beam.scores, penalty.normalised(greedy.scores, greedy.lengths))


@by_name
def test_every_hypothesis_is_that_of_the_classical_rule(hash_model, random_rules, reference_beam, penalty):
    choices = random.Random(2)
    for kind in KINDS:
        vocabulary = 5
        model = hash_model(vocabulary, **kind)
        for _ in range(40):
            rules = random_rules(choices, vocabulary, longest=6)
            num_groups = choices.choice([1, 1, 2, 3])
            beam_size = num_groups * choices.randint(1, 3)
            num = choices.randint(1, beam_size)
            diversity = choices.choice([0.0, 0.5, 3.0])
            seeds = choices.sample(range(6), 3)
            found = beam_search(model, *model.start(seeds), rules, beam_size, num, penalty, num_groups, diversity)
            assert_well_formed(found, rules)
            for image, seed in enumerate(seeds):
                expected = reference_beam(model, seed, rules, beam_size, num, penalty.normalised, num_groups, diversity)
                assert len(token_lists(found, image)) == len(expected)
                # several groups may have come to nothing, and which of them is first does not matter
                expected = [hypothesis for hypothesis in expected if hypothesis[0] > -torch.inf or num_groups == 1]
                count = len(expected)
                assert token_lists(found, image)[:count] == [tokens for _, tokens, _ in expected]
                scores = torch.tensor([score for score, _, _ in expected])
                torch.testing.assert_close(found.scores[image, :count], scores, atol=1e-5, rtol=1e-5)
                assert (found.scores[image, count:] == -torch.inf).all()
                assert found.finished[image, :count].tolist() == [finished for _, _, finished in expected]


@by_name
def test_a_beam_as_wide_as_the_space_finds_the_optimum(hash_model, random_rules, all_hypotheses, penalty):
    choices = random.Random(3)
    for kind in KINDS:
        model = hash_model(4, **kind)
        for _ in range(5):
            rules = random_rules(choices, 4, longest=4)
            found = beam_search(model, *model.start(range(3)), rules, 4**rules.max_length, 4, penalty)
            narrower = [beam_search(model, *model.start(range(3)), rules, width, 1, penalty) for width in (1, 2, 3, 7)]
            for seed in range(3):
                every = [
                    (penalty.normalised(torch.tensor(total), len(tokens)).item(), tokens)
                    for tokens, total in all_hypotheses(model, seed, rules)
                    if total > -torch.inf
                ]
                every.sort(reverse=True)
                possible = token_lists(found, seed)[: len(every)]
                assert possible == [tokens for _, tokens in every[:4]]
                assert all(found.scores[seed, 0] >= other.scores[seed, 0] - 1e-6 for other in narrower)


@pytest.mark.parametrize("num_groups", [1, 2])
def test_stopping_early_changes_nothing_but_the_number_of_steps(hash_model, random_rules, monkeypatch, num_groups):
    choices = random.Random(4)
    saved = 0
    for kind in KINDS:
        model = hash_model(7, **kind)
        start = model.start(range(16))
        for _ in range(6):
            rules = random_rules(choices, 7, longest=12)
            options = rules, 4, choices.randint(1, 4), choices.choice(PENALTIES), num_groups, 0.5
            results = []
            for every in (1, 4, 10**9):
                monkeypatch.setattr("project.decoding.early_stop.steps_between_checks", lambda device, n=every: n)
                model.calls.clear()
                results.append(beam_search(model, *start, *options))
            assert len(model.calls) == rules.max_length
            for early in results[:2]:
                assert all(torch.equal(*pair) for pair in zip(early, results[2], strict=True))
            saved += results[0].tokens.shape[2] < rules.max_length
    assert saved > 3


@pytest.mark.parametrize("num_groups", [1, 3])
def test_a_caption_does_not_depend_on_the_batch(hash_model, num_groups):
    model = hash_model(40, sharpness=9.0, end_bonus=3.0)
    rules = Rules(start=1, end=0, max_length=15, no_repeat_ngram=2)
    options = rules, 6, 3, LengthPenalty("average"), num_groups, 1.0
    together = beam_search(model, *model.start(range(32)), *options)
    assert len({batch for batch, _ in model.calls}) > 2, "images that are done have left"
    assert model.calls[0] == (32, 1)
    assert {width for _, width in model.calls[1:]} == {6}
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    permuted = beam_search(model, *model.start(order), *options)
    assert all(torch.equal(one[order], other) for one, other in zip(together, permuted, strict=True))
    for seed in range(32):
        alone = beam_search(model, *model.start([seed]), *options)
        longest = alone.tokens.shape[2]
        assert torch.equal(together.tokens[seed, :, :longest], alone.tokens[0])
        assert torch.equal(together.log_probs[seed, :, :longest], alone.log_probs[0])
        assert torch.equal(together.scores[seed], alone.scores[0])


@pytest.mark.parametrize("diversity", [0.0, 2.0])
def test_log_probs_are_those_of_teacher_forcing(hash_model, teacher_forced, diversity):
    model = hash_model(8, end_bonus=1.0)
    rules = Rules(start=1, end=0, max_length=8, min_length=3, banned=(4,), no_repeat_ngram=1)
    found = beam_search(model, *model.start(range(10)), rules, 4, 4, LengthPenalty("gnmt"), 2, diversity)
    for seed in range(10):
        for hypothesis, tokens in enumerate(token_lists(found, seed)):
            expected = torch.tensor(teacher_forced(model, seed, tokens), dtype=torch.float32)
            torch.testing.assert_close(found.log_probs[seed, hypothesis, : len(tokens)], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.scores, LengthPenalty("gnmt").normalised(found.log_probability, found.lengths))


def test_one_group_is_plain_and_several_differ(hash_model):
    model = hash_model(30, sharpness=6.0, end_bonus=1.0)
    rules = Rules(start=1, end=0, max_length=8)
    start = model.start(range(20))
    plain = beam_search(model, *start, rules, 6, 6)
    assert all(torch.equal(*pair) for pair in zip(plain, beam_search(model, *start, rules, 6, 6, num_groups=1,
                                                                     diversity=9.0), strict=True))  # fmt: skip
    diverse = beam_search(model, *start, rules, 6, 6, num_groups=3, diversity=9.0)
    different_words = lambda found: sum(len(set(image[:, 0].tolist())) for image in found.tokens)  # noqa: E731
    assert different_words(diverse) > 1.5 * different_words(plain)
    # without a penalty all groups find the same, which is returned once
    same = beam_search(model, *start, rules, 6, 6, num_groups=3)
    assert ((same.lengths > 0).sum(1) == 2).all()
    two = beam_search(model, *start, rules, 2, 2)
    assert torch.equal(same.scores[:, :2], two.scores)


def test_nothing_ends_by_itself_and_everything_at_once(hash_model):
    start = hash_model().start(range(4))
    endless = beam_search(hash_model(end_bonus=-1e4), *start, Rules(start=1, end=0, max_length=5), 3, 2)
    assert not endless.finished.any()
    assert (endless.lengths == 5).all()
    eager = hash_model(end_bonus=1e3)
    at_once = beam_search(eager, *start, Rules(start=1, end=0, max_length=5), 3)
    assert at_once.word_ids() == [[[]]] * 4
    assert len(eager.calls) == 1
    banned = Rules(start=1, end=0, max_length=5, min_length=4, banned=(1, 2, 3, 4))
    assert beam_search(hash_model(), *start, banned, 3).word_ids() == [[[]]] * 4
    two_words = Rules(start=1, end=0, max_length=9, min_length=8, banned=(1, 2), no_repeat_ngram=1)
    forced = beam_search(hash_model(), *start, two_words, 3)
    assert (forced.lengths == 3).all()
    assert forced.finished.all()


def test_places_without_a_hypothesis_see_the_end(hash_model):
    model = hash_model(5, impossible=0.6)
    beam_search(model, *model.start(range(8)), Rules(start=1, end=0, max_length=6, banned=(1, 4)), 4, 4)
    assert model.seen == {0, 1, 2, 3}
    start_alone = hash_model(5)
    beam_search(start_alone, *start_alone.start([0]), Rules(start=4, end=0, max_length=3, banned=(1, 4)), 5, 5)
    assert start_alone.seen == {0, 2, 3, 4}


def test_more_hypotheses_than_there_are(hash_model):
    rules = Rules(start=1, end=0, max_length=2, banned=(1,))
    found = beam_search(hash_model(3), *hash_model(3).start(range(3)), rules, 9, 9)
    assert_well_formed(found, rules)
    assert ((found.lengths > 0).sum(1) == 3).all()  # nothing, a word, the word twice
    assert (found.scores[:, 3:] == -torch.inf).all()
    assert not found.finished[:, 3:].any()


@pytest.mark.parametrize("vocabulary", [5, 700])
@pytest.mark.parametrize("num_groups", [1, 2])
@pytest.mark.parametrize("value", [0.0, -torch.inf, torch.nan], ids=str)
def test_equals_and_nothing_at_all_are_safe(vocabulary, num_groups, value):
    scores = torch.full((2, 1, vocabulary), value)

    def step(tokens, memory, context):
        return scores[: len(tokens)].expand(-1, tokens.shape[1], -1), memory

    rules = Rules(start=1, end=0, max_length=4, banned=(2,))
    found = beam_search(step, None, torch.zeros(2), rules, 4, 4, num_groups=num_groups, diversity=0.5)
    assert_well_formed(found, rules)
    again = beam_search(step, None, torch.zeros(2), rules, 4, 4, num_groups=num_groups, diversity=0.5)
    assert torch.equal(found.tokens, again.tokens)
    if value == 0:
        assert ((found.lengths > 0).sum(1) >= 2).all()
    else:
        assert found.word_ids() == [[[]] * 4] * 2
        assert (found.scores == -torch.inf).all()


def test_low_precision_scores_are_normalised_in_float32(hash_model):
    model = hash_model(8)
    rules = Rules(start=1, end=0, max_length=5)
    scores = {torch.bfloat16: [], torch.float64: []}
    for dtype, found in scores.items():
        step = lambda *of, dtype=dtype: (lambda s, m: (s.bfloat16().to(dtype).requires_grad_(), m))(*model(*of))  # noqa: E731
        with torch.autocast("cpu", torch.bfloat16):
            found.append(beam_search(step, *model.start(range(5)), rules, 3))
    one, other = scores[torch.bfloat16][0], scores[torch.float64][0]
    assert torch.equal(one.tokens, other.tokens)
    assert torch.equal(one.log_probs, other.log_probs)
    assert one.log_probs.dtype == one.scores.dtype == torch.float32
    assert not one.log_probs.requires_grad


def test_the_host_waits_for_nothing_but_a_rare_check(hash_model, monkeypatch):
    monkeypatch.setattr("project.decoding.early_stop.steps_between_checks", lambda device: 4)
    logits = hash_model(30, end_bonus=-1e4)._scores(torch.arange(4)[:, None])
    step = lambda tokens, memory, context: (logits.expand(-1, tokens.shape[1], -1), memory)  # noqa: E731
    rules = Rules(start=1, end=0, max_length=20, min_length=2, banned=(3,), no_repeat_ngram=3)
    with Waits() as waits:
        beam_search(step, torch.zeros(4, 1, 2), None, rules, 4, 2, LengthPenalty("average"), 2, 1.0)
    assert waits.count == 4 + 1, "after 4, 8, 12 and 16 steps, and for the longest at the end"


def test_a_device_without_data_can_run_the_loop():
    def step(tokens, memory, context):
        assert tokens.is_meta
        return torch.empty(*tokens.shape, 999, device="meta"), [memory[0] + 1]

    rules = Rules(start=1, end=0, max_length=4, min_length=2, banned=(3,), no_repeat_ngram=2)
    memory, context = [torch.empty(5, 1, 7, device="meta")], torch.empty(5, 3, device="meta")
    found = _search(step, memory, context, rules, Groups(6, 3, 1.0), 2, LengthPenalty("average"))
    assert found.tokens.shape == (5, 2, 4)
    assert found.tokens.is_meta


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"beam_size": 0}, "beam_size: must be at least 1; got 0"),
        ({"num_hypotheses": 0}, "num_hypotheses: must be at least 1; got 0"),
        ({"num_hypotheses": 5}, "num_hypotheses: a beam of 4 finds no more than that; choose at most 4, or raise "
                                "beam_size"),
        ({"num_groups": 3}, "num_groups: 3 groups cannot share a beam of 4 equally; choose a divisor of 4"),
        ({"diversity": -1.0}, "diversity: must be 0 or more; got -1.0"),
        ({"diversity": float("inf")}, "diversity: must be 0 or more; got inf"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(hash_model, options, line):
    model = hash_model()
    with pytest.raises(ConfigError) as caught:
        beam_search(model, *model.start([0]), Rules(start=1, end=0, max_length=3), **{"beam_size": 4, **options})
    assert str(caught.value) == f"model.decoding.{line}"


# ---- whatever the rules


@st.composite
def rules_of(draw: st.DrawFn, vocabulary: int, longest: int) -> Rules:
    max_length = draw(st.integers(1, longest))
    return Rules(
        start=1,
        end=0,
        max_length=max_length,
        min_length=draw(st.integers(0, max_length - 1)),
        banned=tuple(draw(st.sets(st.integers(1, vocabulary - 1), max_size=vocabulary - 1))),
        no_repeat_ngram=draw(st.integers(0, 3)),
    )


penalties = st.builds(LengthPenalty, st.sampled_from(["none", "average", "gnmt"]), st.floats(0, 2))
models = st.fixed_dictionaries(
    {}, optional={"sharpness": st.floats(0, 9), "end_bonus": st.floats(-3, 3), "impossible": st.floats(0, 0.9)}
)


def assert_allowed(found, rules, allowed_tokens, model):
    """By the letter of the rules, token by token."""
    for image in range(len(found.tokens)):
        for tokens in token_lists(found, image):
            for place, token in enumerate(tokens):
                assert token in allowed_tokens(model, image, rules, tokens[:place])


@given(st.data(), models, penalties)
def test_a_beam_of_one_is_greedy_whatever_the_rules(hash_model, allowed_tokens, data, kind, penalty):
    model, rules = hash_model(6, **kind), data.draw(rules_of(6, 8))
    greedy = greedy_search(model, *model.start(range(3)), rules)
    beam = beam_search(model, *model.start(range(3)), rules, 1, length_penalty=penalty)
    for name in ("tokens", "log_probs", "lengths", "finished"):
        assert torch.equal(getattr(greedy, name), getattr(beam, name)), name
    assert_allowed(beam, rules, allowed_tokens, model)


@given(st.data(), models, penalties, st.integers(1, 6))
def test_scores_are_those_of_teacher_forcing_whatever_the_rules(
    hash_model, allowed_tokens, teacher_forced, data, kind, penalty, beam_size
):
    model, rules = hash_model(5, **kind), data.draw(rules_of(5, 6))
    found = beam_search(model, *model.start(range(2)), rules, beam_size, beam_size, penalty)
    assert_well_formed(found, rules)
    assert_allowed(found, rules, allowed_tokens, model)
    for seed in range(2):
        for place, tokens in enumerate(token_lists(found, seed)):
            total = torch.tensor(sum(teacher_forced(model, seed, tokens)), dtype=torch.float64)
            expected = penalty.normalised(total, len(tokens)).float()
            torch.testing.assert_close(found.scores[seed, place], expected, atol=1e-4, rtol=1e-5)


@given(st.data(), models, penalties)
def test_a_beam_as_wide_as_all_hypotheses_finds_the_best(hash_model, all_hypotheses, data, kind, penalty):
    model, rules = hash_model(3, **kind), data.draw(rules_of(3, 4))
    found = beam_search(model, *model.start([0]), rules, 3**rules.max_length, 1, penalty)
    scores = [
        float(penalty.normalised(torch.tensor(total).double(), len(tokens)))
        for tokens, total in all_hypotheses(model, 0, rules)
    ]
    torch.testing.assert_close(found.scores[0, 0].double(), torch.tensor(max(scores)).double(), atol=1e-5, rtol=1e-5)
