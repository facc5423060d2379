"""Words as numbers, and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from project.errors import DataError

PAD, START, END, UNK = range(4)
SPECIALS = ("<pad>", "<start>", "<end>", "<unk>")


class Vocabulary:
    """The words that a captioner knows: after the four specials, in the order of `words`.

    Args:
        words: without the specials; goes into a checkpoint as it is.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._index = {word: index for index, word in enumerate(self.words, len(SPECIALS))}

    @classmethod
    def build(cls, captions: Iterable[list[str]], min_count: int) -> Vocabulary:
        """The words that occur at least `min_count` times, the most frequent first and ties in alphabetical order.

        Args:
            captions: each its words; of the training split alone, since a network cannot learn the others. `<unk>`
                stands for unknown words and is none.
            min_count: rarer words are read as `<unk>`.

        Raises:
            DataError: no word is that frequent, or captions contain another special word.
        """
        counts = Counter(word for caption in captions for word in caption)
        counts.pop(SPECIALS[UNK], None)
        for mark in SPECIALS:
            if counts[mark]:
                raise DataError(f"data: the training captions contain the word '{mark}' ({counts[mark]} times), which marks "
                                "captions in the vocabulary already; take it out of the captions")  # fmt: skip
        frequent = [word for word, count in counts.items() if count >= min_count]
        if not frequent:
            most = max(counts.values(), default=0)
            raise DataError(f"data.min_count: no word of the training captions occurs {min_count} times; the most "
                            f"frequent one does {most} times, so set it to {max(most, 1)} or less")  # fmt: skip
        return cls(sorted(frequent, key=lambda word: (-counts[word], word)))

    def __len__(self) -> int:
        return len(SPECIALS) + len(self.words)

    def encode(self, tokens: Sequence[str], max_words: int) -> list[int]:
        """The first `max_words` words, unknown ones as UNK, and END."""
        return [*(self._index.get(token, UNK) for token in tokens[:max_words]), END]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The words up to END; an unknown one is `<unk>`, the other specials are left out."""
        words = []
        for index in map(int, ids):
            if index == END:
                break
            if index == UNK:
                words.append(SPECIALS[UNK])
            elif index >= len(SPECIALS):
                words.append(self.words[index - len(SPECIALS)])
        return words
