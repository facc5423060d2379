"""The search for captions against plain Python: both directions, several networks, every choice between them."""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from torch.nn import functional

from project.data.captions.vocabulary import END, PAD, START, UNK
from project.decoding import Hypotheses, LengthPenalty, beam_search, greedy_search
from project.errors import ConfigError
from project.models.captioning import CaptionNetwork, DecoderOptions, Features
from project.tasks.caption_search import CaptionSearch, Decoding, reverse_words

WORDS, MAX_WORDS, IMAGES = (4, 5, 6), 3, 12
Caption = tuple[tuple[int, ...], bool]
"""The words in reading order, and whether the end follows."""


def network(bidirectional: bool = False, seed: int = 0, attention: str = "soft", width: int = 2) -> CaptionNetwork:
    """A network that has learned something, so that what it says differs from image to image."""
    return copy.deepcopy(_trained(bidirectional, seed, attention, width))


@functools.cache
def _trained(bidirectional: bool, seed: int, attention: str, width: int) -> CaptionNetwork:
    torch.manual_seed(seed)
    options = DecoderOptions(attention, embedding_size=6, hidden_size=8, bidirectional=bidirectional, dropout=0.0)
    built = CaptionNetwork(4 + len(WORDS), START, 8, "small_resnet", {"width": width}, options)
    (features,) = seen(built)
    counts = torch.randint(MAX_WORDS + 1, (IMAGES, 3))
    tokens = torch.randint(UNK, 4 + len(WORDS), (IMAGES, 3, MAX_WORDS + 1))
    place = torch.arange(MAX_WORDS + 1)
    tokens = tokens.masked_fill(place == counts[..., None], END).masked_fill(place > counts[..., None], PAD)
    optimizer = torch.optim.Adam(built.decoders.parameters(), lr=0.05)
    for _ in range(40):
        optimizer.zero_grad()
        for direction, decoder in enumerate(built.decoders):
            told = reverse_words(tokens, counts) if direction else tokens
            logits = decoder(features, told).logits
            functional.cross_entropy(logits.flatten(0, 2), told.flatten(), ignore_index=PAD).backward()
        optimizer.step()
    return built.eval().requires_grad_(False)


def seen(*networks: CaptionNetwork) -> list[Features]:
    """What each network sees of the same images."""
    found = []
    for each in networks:
        size = each.encoder.num_features
        grid = torch.randn(IMAGES, 4, size, generator=torch.Generator().manual_seed(size))
        found.append(Features(grid, grid.mean(1)))
    return found


def found_captions(found: Hypotheses, image: int) -> list[Caption]:
    return [
        (tuple(words), finished)
        for words, finished, length in zip(
            found.word_ids()[image], found.finished[image].tolist(), found.lengths[image].tolist(), strict=True
        )
        if length
    ]


def taught(
    networks: Sequence[CaptionNetwork], features: Sequence[Features], image: int, caption: Caption, direction: int = 0
) -> list[float]:
    """log of the mean probability of each word and the end, in the order in which the direction says them."""
    words, finished = caption
    said = [*(words[::-1] if direction else words), *([END] if finished else [])]
    tokens = torch.tensor(said)[None, None]
    total = 0.0
    for each, its in zip(networks, features, strict=True):
        one = Features(*(part[image : image + 1] for part in its))
        total = total + each.decoders[direction](one, tokens).logits[0, 0].double().softmax(1)
    return [math.log(float(total[t, word]) / len(networks)) for t, word in enumerate(said)]


def plain_beam(built: CaptionNetwork, features: Features, direction: int, decoding: Decoding, count: int) -> Hypotheses:
    decoder = built.decoders[direction]
    memory, context = decoder.start(features)
    rules, penalty = decoding.rules(MAX_WORDS), LengthPenalty(decoding.length_penalty, decoding.alpha)
    return beam_search(
        decoder.step, memory, context, rules, decoding.beam_size, count, penalty, decoding.groups, decoding.diversity
    )


def assert_same(one: Hypotheses, other: Hypotheses) -> None:
    for name in Hypotheses._fields:
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=1e-5, rtol=1e-5, msg=name)


# ---- turning captions round


def test_words_are_turned_round_and_what_follows_stays():
    random = torch.Generator().manual_seed(0)
    tokens = torch.randint(4, 99, (5, 6, 7), generator=random)
    counts = torch.randint(-1, 8, (5, 6), generator=random)  # -1 is the count of a caption that is not there
    assert {-1, 0, 1, 7} <= set(counts.flatten().tolist())
    turned = reverse_words(tokens, counts)
    for i, j in itertools.product(range(5), range(6)):
        row, count = tokens[i, j].tolist(), max(int(counts[i, j]), 0)
        assert turned[i, j].tolist() == row[:count][::-1] + row[count:]
    assert torch.equal(reverse_words(turned, counts), tokens)


def test_turning_works_on_numbers_and_on_nothing():
    assert reverse_words(torch.tensor([0.5, 0.25, 0.0]), torch.tensor(2)).tolist() == [0.25, 0.5, 0.0]
    assert reverse_words(torch.empty(2, 0, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)).shape == (2, 0)


# ---- one direction


@pytest.mark.parametrize("attention", ["none", "soft", "top_down"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"length_penalty": "average"},
        {"length_penalty": "gnmt", "alpha": 0.5},
        {"beam_size": 6, "groups": 3, "diversity": 2.0},
        {"max_words": 2, "min_words": 1, "no_repeat_ngram": 1, "unknown_words": False},
    ],
    ids=str,
)
def test_with_one_direction_it_is_the_beam_search(attention, options):
    built, decoding = network(attention=attention), Decoding(**options)
    (features,) = seen(built)
    search = CaptionSearch([built], decoding, MAX_WORDS)
    assert_same(search([features], 5), plain_beam(built, features, 0, decoding, 5))
    assert_same(search([features]), plain_beam(built, features, 0, decoding, 1))
    assert search([features], 99).tokens.shape[1] == decoding.beam_size


@pytest.mark.parametrize("configured", ["beam", "greedy", "sample"])
def test_greedy_search_is_greedy_whatever_is_configured(configured):
    built = network()
    (features,) = seen(built)
    decoding = Decoding(search=configured)
    memory, context = built.decoders[0].start(features)
    expected = greedy_search(built.decoders[0].step, memory, context, decoding.rules(MAX_WORDS))
    search = CaptionSearch([built], decoding, MAX_WORDS)
    assert_same(search([features], 5, greedy=True), expected)
    if configured == "greedy":
        assert_same(search([features], 5), expected)


def test_samples_are_reproducible_in_order_and_told_with_their_probabilities():
    built = network()
    (features,) = seen(built)
    search = CaptionSearch([built], Decoding("sample", beam_size=20), MAX_WORDS)
    torch.manual_seed(5)
    found = search([features], 4)
    torch.manual_seed(5)
    assert_same(search([features], 4), found)
    assert not torch.equal(search([features], 4).tokens, found.tokens)
    generators = [torch.Generator().manual_seed(seed) for seed in (7, 7, 8)]
    state = torch.get_rng_state()
    one, same, other = (search([features], 4, generator=generator).tokens for generator in generators)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert found.tokens.shape[:2] == (IMAGES, 4)
    assert (found.scores.diff(dim=1) <= 0).all()
    for image in range(IMAGES):
        for n, caption in enumerate(found_captions(found, image)):
            expected = taught([built], [features], image, caption)
            assert found.log_probs[image, n, : len(expected)].tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("narrow", [{"temperature": 1e-4}, {"top_k": 1}, {"top_p": 1e-6}])
def test_samples_of_the_likeliest_words_alone_are_greedy(narrow):
    built = network()
    (features,) = seen(built)
    search = CaptionSearch([built], Decoding("sample", beam_size=2, **narrow), MAX_WORDS)
    assert_same(search([features]), search([features], greedy=True))


def test_captions_keep_to_the_rules():
    built = network()
    built.decoders[0].output.bias[UNK] += 5
    (features,) = seen(built)
    every = lambda **options: [  # noqa: E731
        words
        for image in CaptionSearch([built], Decoding(**options), MAX_WORDS)([features], 5).word_ids()
        for words in image
    ]
    assert any(UNK in words for words in every())
    assert not any(UNK in words for words in every(unknown_words=False))
    assert min(map(len, every(min_words=2))) == 2
    assert any(len(set(words)) < len(words) for words in every())
    assert all(len(set(words)) == len(words) for words in every(no_repeat_ngram=1))
    for options, most in (({}, MAX_WORDS), ({"max_words": 2}, 2), ({"max_words": 5}, 5)):
        found = CaptionSearch([built], Decoding(**options), MAX_WORDS)([features], 5)
        counts = found.lengths - found.finished.long()
        assert counts[found.finished].max() <= most
        assert (counts[~found.finished & (found.lengths > 0)] == most + 1).all()
        assert counts.max() >= most


# ---- two directions


def chosen(
    networks: list[CaptionNetwork], features: list[Features], image: int, decoding: Decoding
) -> list[tuple[float, Caption]]:
    """Every caption that either direction finds, once, by the score that the direction option names."""
    scores: dict[Caption, float] = {}
    for direction in (0, 1):
        for words, finished in found_captions(
            plain_beam(networks[0], features[0], direction, decoding, decoding.beam_size), image
        ):
            caption = (words[::-1] if direction else words), finished
            own = taught(networks, features, image, caption, direction)
            score = {
                "sum": sum(own),
                "mean": sum(own) / len(own),
                "rescore": sum(sum(taught(networks, features, image, caption, each)) for each in (0, 1)),
            }[decoding.direction]
            scores[caption] = max(score, scores.get(caption, -math.inf))
    return sorted(((score, caption) for caption, score in scores.items()), key=lambda each: -each[0])


@pytest.mark.parametrize("attention", ["none", "soft", "top_down"])
@pytest.mark.parametrize("direction", ["sum", "mean", "rescore"])
def test_the_better_of_both_directions_is_said(direction, attention):
    built, decoding = network(True, attention=attention), Decoding(direction=direction)
    features, said_twice, cut = seen(built), 0, 0
    search = CaptionSearch([built], decoding, MAX_WORDS)
    found, alone = search(features, 5), search(features)
    for image in range(IMAGES):
        expected = chosen([built], features, image, decoding)
        captions = found_captions(found, image)
        assert captions == [caption for _, caption in expected[:5]]
        assert found.scores[image].tolist() == pytest.approx([score for score, _ in expected[:5]], abs=1e-4)
        assert found_captions(alone, image) == captions[:1]
        said_twice += 10 - len(expected)
        cut += sum(not finished for _, finished in captions)
    assert said_twice
    assert cut


def test_both_directions_have_a_say():
    built, decoding = network(True), Decoding()
    features = seen(built)
    best = CaptionSearch([built], decoding, MAX_WORDS)(features)
    winners = set()
    for image in range(IMAGES):
        forward, backward = (
            found_captions(plain_beam(built, features[0], direction, decoding, 1), image)[0] for direction in (0, 1)
        )
        (caption,) = found_captions(best, image)
        backward = backward[0][::-1], backward[1]
        assert caption in (forward, backward)
        if forward != backward:
            winners.add("forward" if caption == forward else "backward")
    assert winners == {"forward", "backward"}


@pytest.mark.parametrize("weak", [0, 1])
def test_log_probabilities_are_in_reading_order_and_of_who_said_it(weak):
    built = network(True)
    decoder = built.decoders[weak]
    decoder.output.bias[PAD] += 99  # which it may not say, and so all that it says is unlikely
    features = seen(built)
    found = CaptionSearch([built], Decoding(max_words=6), MAX_WORDS)(features)
    assert found.finished.any()
    for image in range(IMAGES):
        ((words, finished),) = found_captions(found, image)
        values = taught([built], features, image, (words, finished), 1 - weak)
        ordered = values if weak else values[: len(words)][::-1] + values[len(words) :]
        assert found.log_probs[image, 0, : len(values)].tolist() == pytest.approx(ordered, abs=1e-4)
        assert (found.log_probs[image, 0, len(values) :] == 0).all()
        assert found.log_probability[image, 0].item() == pytest.approx(sum(values), abs=1e-4)


def test_what_is_not_there_has_no_words():
    """With fewer captions than are asked for, the places of those that were said twice stay empty."""
    built = network(True)
    features = seen(built)
    # three words with an end, and nine pairs without: each direction finds all of them
    decoding = Decoding(beam_size=15, max_words=1, min_words=1, unknown_words=False)
    found = CaptionSearch([built], decoding, MAX_WORDS)(features, 15)
    for image in range(IMAGES):
        expected = chosen([built], features, image, decoding)
        captions = found_captions(found, image)
        assert captions == [caption for _, caption in expected]
        assert len(set(captions)) == len(captions) == 12
    empty = found.lengths == 0
    assert empty.sum() == 3 * IMAGES
    assert (found.scores.isinf() == empty).all()
    assert not found.finished[empty].any()
    assert all(not words for words, gone in zip(
        itertools.chain.from_iterable(found.word_ids()), empty.flatten().tolist(), strict=True) if gone)  # fmt: skip


def test_greedy_in_two_directions_takes_the_likelier():
    built = network(True)
    (features,) = seen(built)
    found = CaptionSearch([built], Decoding(), MAX_WORDS)([features], 3, greedy=True)
    assert found.tokens.shape[1] == 1
    rules = Decoding().rules(MAX_WORDS)
    each = []
    for decoder in built.decoders:
        memory, context = decoder.start(features)
        each.append(greedy_search(decoder.step, memory, context, rules))
    torch.testing.assert_close(found.scores, torch.maximum(each[0].scores, each[1].scores))


# ---- several networks


def exhaustive(networks: list[CaptionNetwork], features: list[Features], image: int) -> list[tuple[float, Caption]]:
    """Every caption of up to two words, and of three without an end, by its mean probability."""
    every = [(words, True) for count in range(3) for words in itertools.product(WORDS, repeat=count)]
    every += [(words, False) for words in itertools.product(WORDS, repeat=3)]
    scored = [(sum(taught(networks, features, image, caption)), caption) for caption in every]
    return sorted(scored, key=lambda each: -each[0])


def test_an_ensemble_averages_probabilities():
    networks = [network(seed=1), network(seed=2, attention="top_down", width=3)]
    features = seen(*networks)
    decoding = Decoding(beam_size=40, max_words=2, unknown_words=False)  # as wide as the space
    found = CaptionSearch(networks, decoding, MAX_WORDS)(features, 10)
    alone = CaptionSearch(networks[:1], decoding, MAX_WORDS)(features[:1], 10)
    for image in range(3):
        expected = exhaustive(networks, features, image)[:10]
        assert found_captions(found, image) == [caption for _, caption in expected]
        assert found.scores[image].tolist() == pytest.approx([score for score, _ in expected], abs=1e-4)
    assert not torch.equal(found.tokens, alone.tokens)


@pytest.mark.parametrize("direction", ["sum", "mean", "rescore"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_network_beside_itself_says_what_it_says_alone(bidirectional, direction):
    built, decoding = network(bidirectional), Decoding(direction=direction)
    (features,) = seen(built)
    twice = CaptionSearch([built, built], decoding, MAX_WORDS)([features, features], 5)
    assert_same(twice, CaptionSearch([built], decoding, MAX_WORDS)([features], 5))


def test_an_ensemble_in_two_directions_rescores_with_all_of_it():
    networks, decoding = [network(True, seed=1), network(True, seed=2, width=3)], Decoding(direction="rescore")
    features = seen(*networks)
    found = CaptionSearch(networks, decoding, MAX_WORDS)(features, 5)
    for image in range(IMAGES):
        for n, caption in enumerate(found_captions(found, image)):
            expected = sum(sum(taught(networks, features, image, caption, each)) for each in (0, 1))
            assert found.scores[image, n].item() == pytest.approx(expected, abs=1e-4)


# ---- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search": "beem"}, "search: there is no 'beem'; did you mean 'beam'?"),
        ({"direction": "sums"}, "direction: there is no 'sums'; did you mean 'sum'?"),
        ({"length_penalty": "gnm"}, "length_penalty: there is no 'gnm'; did you mean 'gnmt'?"),
        ({"beam_size": 0}, "beam_size: must be at least 1; got 0"),
        ({"num_hypotheses": 0}, "num_hypotheses: must be at least 1; got 0"),
        ({"groups": 0}, "groups: must be at least 1; got 0"),
        ({"groups": 2}, "groups: 2 groups cannot share a beam of 5; choose a divisor of it"),
        ({"alpha": -1.0}, "alpha: must be at least 0; got -1.0"),
        ({"diversity": -0.5}, "diversity: must be at least 0; got -0.5"),
        ({"min_words": -1}, "min_words: must be at least 0; got -1"),
        ({"max_words": 0}, "max_words: must be at least 1; got 0"),
        ({"min_words": 4, "max_words": 3}, "min_words: 4 is above max_words, 3"),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram: must be at least 0; got -1"),
        ({"temperature": 0.0}, "temperature: must be above 0; got 0.0"),
        ({"top_k": 0}, "top_k: must be at least 1; got 0"),
        ({"top_p": 0.0}, "top_p: must be above 0 and at most 1; got 0.0"),
        ({"top_p": 1.5}, "top_p: must be above 0 and at most 1; got 1.5"),
        ({"alpha": math.nan}, "alpha: must be at least 0; got nan"),
    ],
)
def test_a_mistake_names_its_option(options, message):
    with pytest.raises(ConfigError) as error:
        Decoding(**options)
    assert str(error.value) == f"model.decoding.{message}"


def test_more_words_than_were_trained_are_a_mistake_unless_asked_for():
    with pytest.raises(ConfigError, match=r"^model\.decoding\.min_words: 4 is above max_words, 3$"):
        CaptionSearch([network()], Decoding(min_words=4), MAX_WORDS)
    assert CaptionSearch([network()], Decoding(min_words=4, max_words=4), MAX_WORDS).rules.max_length == 5
