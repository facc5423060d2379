"""N-grams as integers against counting tuples."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from project.metrics.captions.ngrams import NgramCounts, look_up


@pytest.mark.parametrize("words", [2, 30])
def test_counts_equal_those_of_tuples(words):
    draw = random.Random(words)
    captions = [[f"w{draw.randrange(words)}" for _ in range(draw.randrange(9))] for _ in range(60)]
    counts = NgramCounts(captions)
    assert counts.lengths.tolist() == [len(caption) for caption in captions]
    for n, grams in enumerate(counts.orders, start=1):
        expected = Counter(
            (i, tuple(caption[j : j + n])) for i, caption in enumerate(captions) for j in range(len(caption) - n + 1)
        )
        names = [tuple(counts.vocabulary[word] for word in row) for row in grams.words]
        assert len(set(names)) == grams.size == len({gram for _, gram in expected})
        triples = zip(grams.caption.tolist(), grams.gram.tolist(), grams.count.tolist(), strict=True)
        assert {(caption, names[gram]): count for caption, gram, count in triples} == expected
        keys = grams.caption * grams.size + grams.gram
        assert (np.diff(keys) > 0).all(), "sorted by caption and n-gram"


@pytest.mark.parametrize("captions", [[], [[]], [[], ["a"]], [["a", "b", "c"]]])
def test_short_captions_have_no_long_ngrams(captions):
    for n, grams in enumerate(NgramCounts(captions).orders, start=1):
        expected = sum(max(len(caption) - n + 1, 0) for caption in captions)
        assert grams.count.sum() == expected
        assert grams.words.shape == (expected, n)


def test_what_is_looked_up_is_found_or_zero():
    keys, values = np.array([2, 5, 9]), np.array([20, 50, 90])
    assert look_up(keys, values, np.array([9, 1, 5, 10, 2])).tolist() == [90, 0, 50, 0, 20]
    assert look_up(keys[:0], values[:0], np.array([1, 2])).tolist() == [0, 0]
