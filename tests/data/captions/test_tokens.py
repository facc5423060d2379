"""Token matrices against encoding in plain Python, and the choice of captions against what chance would do."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy import stats

from project.data.captions.tokens import TokenTable
from project.data.captions.vocabulary import PAD, Vocabulary
from project.data.draws import uniforms

VOCABULARY = Vocabulary(["a", "b", "c", "d"])
COUNTS = [1, 5, 3, 7, 2]
CPU = torch.device("cpu")


def make_words(counts: list[int] = COUNTS) -> list[list[list[str]]]:
    """Captions of which no two are alike within one image: 1 to 6 words."""
    random = np.random.default_rng(0)
    return [[["abcdx"[j % 5], *random.choice(list("abcdx"), j % 6)] for j in range(count)] for count in counts]


WORDS = make_words()


def expected(rows: list[list[int]]) -> list[list[int]]:
    longest = max(map(len, rows))
    return [row + [PAD] * (longest - len(row)) for row in rows]


@pytest.mark.parametrize("max_words", [20, 4, 1])
def test_all_captions_are_those_of_encode_padded(max_words):
    table = TokenTable(WORDS, VOCABULARY, max_words, CPU)
    tokens = table.gather(table.all_rows())
    assert (tokens.dtype, tokens.shape[:2]) == (torch.int64, (5, 7))
    encoded = [[VOCABULARY.encode(caption, max_words) for caption in captions] for captions in WORDS]
    longest = max(len(row) for captions in encoded for row in captions)
    assert tokens.shape[2] == longest == min(max_words, 6) + 1
    for image, captions in zip(tokens.tolist(), encoded, strict=True):
        rows = [row + [PAD] * (longest - len(row)) for row in captions]
        assert image == rows + [[PAD] * longest] * (7 - len(rows))


def test_on_the_processor_a_batch_is_as_wide_as_its_longest_caption():
    table = TokenTable([[["a"]], [["a", "b", "c"]], [["b", "b"]]], VOCABULARY, 20, CPU)
    rows = table.all_rows()
    assert table.gather(rows[[0, 2]]).tolist() == [[[4, 2, 0]], [[5, 5, 2]]]
    assert table.gather(rows[[0]]).tolist() == [[[4, 2]]]
    assert table.gather(rows).shape == (3, 1, 4)


def test_elsewhere_all_batches_have_one_shape():
    table = TokenTable(WORDS, VOCABULARY, 20, torch.device("meta"))
    assert table.gather(table.all_rows()[[0]]).shape == (1, 7, 7)
    assert table.device.type == "meta"


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 9])
def test_an_epoch_shows_different_captions_of_each_image(count):
    table = TokenTable(WORDS, VOCABULARY, 20, CPU)
    tokens = table.gather(table.drawn_rows(0, 3, count))
    shown = min(count, 7)
    assert tokens.shape[:2] == (5, shown)
    for image, captions, rows in zip(range(5), WORDS, tokens.tolist(), strict=True):
        said = [row for row in rows if any(row)]
        assert len(said) == min(shown, COUNTS[image])
        assert rows == said + [[PAD] * tokens.shape[2]] * (shown - len(said))
        encoded = [VOCABULARY.encode(caption, 20) for caption in captions]
        chosen = [encoded.index([token for token in row if token != PAD]) for row in said]
        assert len(set(chosen)) == len(chosen), "a caption came twice"
        if COUNTS[image] <= shown:
            assert chosen == list(range(COUNTS[image]))


def shown(table: TokenTable, seed: int, epoch: int, count: int) -> np.ndarray:
    """The places of the captions among those of their image."""
    return table.drawn_rows(seed, epoch, count).numpy() - np.array([0, *np.cumsum(COUNTS)[:-1]])[:, None]


def test_every_order_of_captions_is_as_likely():
    table = TokenTable(WORDS, VOCABULARY, 20, CPU)
    orders = list(permutations(range(3), 2))
    times = dict.fromkeys(orders, 0)
    singles = np.zeros(7)
    for epoch in range(1500):
        times[tuple(shown(table, 5, epoch, 2)[2].tolist())] += 1
        singles[shown(table, 5, epoch, 2)[3]] += 1
    assert stats.chisquare(list(times.values())).pvalue > 1e-3
    assert singles.sum() == 3000
    assert stats.chisquare(singles).pvalue > 1e-3


def test_seeds_epochs_and_images_draw_apart_and_the_same_ones_again():
    many = TokenTable(make_words([7] * 300), VOCABULARY, 20, CPU)
    rows = {key: many.drawn_rows(*key, 1).numpy().ravel() - 7 * np.arange(300) for key in ((0, 0), (0, 1), (1, 0))}
    for key, row in rows.items():
        assert np.array_equal(many.drawn_rows(*key, 1).numpy().ravel() - 7 * np.arange(300), row)
        assert stats.chisquare(np.bincount(row, minlength=7)).pvalue > 1e-3
    for one, other in (((0, 0), (0, 1)), ((0, 0), (1, 0))):
        assert 20 < (rows[one] == rows[other]).sum() < 70  # 43 by chance


def test_what_an_image_shows_does_not_depend_on_the_other_images():
    whole = shown(TokenTable(WORDS, VOCABULARY, 20, CPU), 0, 4, 2)
    fewer = TokenTable(WORDS[:2], VOCABULARY, 20, CPU).drawn_rows(0, 4, 2).numpy()
    assert (fewer[1] - 1).tolist() == whole[1].tolist()


def test_the_draw_is_this_one_on_every_machine():
    table = TokenTable(WORDS, VOCABULARY, 20, CPU)
    draws = uniforms(0, 2, np.array([3]), 7, 1 << 20)[0]
    assert shown(table, 0, 2, 3)[3].tolist() == sorted(range(7), key=draws.__getitem__)[:3]
