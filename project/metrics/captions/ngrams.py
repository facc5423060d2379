"""N-grams of many captions at once, as integers.

In NumPy: sorting so few integers takes torch's threads longer to begin than to do.

Shapes: C captions, M words in all of them together, E pairs of a caption and an n-gram in it, G n-grams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

ORDERS = 4
"""The longest n-grams that caption metrics look at."""


class Grams(NamedTuple):
    """How often each n-gram of one order occurs in each caption, sorted by caption and n-gram.

    caption: (E,) int64. gram: (E,) int64, 0..G-1. count: (E,) int64, at least 1. size: G.
    words: (G, n) int64, the words of each n-gram.
    """

    caption: np.ndarray
    gram: np.ndarray
    count: np.ndarray  # type: ignore[assignment]  # nobody asks for the tuple's own
    size: int
    words: np.ndarray


class NgramCounts:
    """N-grams of orders 1 to `ORDERS` in captions.

    Args:
        captions: C lists of words.
    """

    def __init__(self, captions: Sequence[Sequence[str]]) -> None:
        index: dict[str, int] = {}
        words = [index.setdefault(word, len(index)) for caption in captions for word in caption]
        self.vocabulary = list(index)
        self.lengths = np.array([len(caption) for caption in captions], np.int64)
        self.orders = self._count(np.array(words, np.int64))

    def _count(self, words: np.ndarray) -> list[Grams]:
        caption = np.repeat(np.arange(len(self.lengths)), self.lengths)  # of each word
        ends = self.lengths.cumsum()[caption]
        place = np.arange(len(words))
        found, gram, size = [], words, len(self.vocabulary)
        for n in range(1, ORDERS + 1):
            if n > 1:
                # an n-gram is an (n-1)-gram and one more word: dense numbers keep the product small
                inside = place + n <= ends
                place, caption, ends = place[inside], caption[inside], ends[inside]
                key = gram[inside] * len(self.vocabulary) + words[place + n - 1]
                unique, gram = np.unique(key, return_inverse=True)
                size = len(unique)
            first = np.zeros(size, np.int64)
            first[gram] = place  # any place where it stands
            pairs, count = np.unique(caption * size + gram, return_counts=True)
            found.append(Grams(*np.divmod(pairs, size), count, size, words[first[:, None] + np.arange(n)]))
        return found


def look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """For each of `wanted` (E,) int64 the value (F,) at the equal key (F,), ascending int64; 0 where there is none."""
    if not len(keys):
        return np.zeros(len(wanted), values.dtype)
    place = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)
