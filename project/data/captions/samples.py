"""One split of images with captions, before it is decoded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from project.data.samples import Samples, Split
from project.errors import DataError

_LETTER = re.compile("[A-Za-z]")


@dataclass(frozen=True)
class CaptionedSamples(Samples):
    """Images and their captions; the labels are zeros.

    captions: of each of the N images, one text or more, as the data set has them.
    tokens: their words, where the data set has them: None of a text without, or of all.
    ids: of each image, as files of results have them, where the data set has some.
    """

    captions: list[list[str]]
    tokens: Sequence[Sequence[list[str] | None]] | None = None
    ids: list[int | str] | None = None

    @classmethod
    def of(
        cls,
        images: Sequence[Path] | np.ndarray,
        captions: list[list[str]],
        split: Split,
        tokens: Sequence[Sequence[list[str] | None]] | None = None,
        root: Path | None = None,
        ids: list[int | str] | None = None,
    ) -> CaptionedSamples:
        """Without labels."""
        return cls(images, np.zeros(len(images), np.int64), split, captions, tokens, ids, root=root)

    def image_ids(self) -> list[int | str]:
        """Of each image its id, else its path in the set or its place in the split."""
        if self.ids is not None:
            return self.ids
        return list(range(len(self))) if self.in_memory else list(self.keys())

    def take(self, indices: np.ndarray, split: Split) -> Self:
        """The samples at `indices` with their captions, as a split of that name."""
        captions = [self.captions[i] for i in indices]
        tokens = None if self.tokens is None else [self.tokens[i] for i in indices]
        ids = None if self.ids is None else [self.ids[i] for i in indices]
        return replace(super().take(indices, split), captions=captions, tokens=tokens, ids=ids)

    def fingerprint(self) -> str:
        """Tells one data set from another: of the images and of what is said about them."""
        digest = hashlib.sha256(super().fingerprint().encode())
        for image, texts in enumerate(self.captions):
            known = [] if self.tokens is None else self.tokens[image]
            words = ["\1".join(caption) for caption in known if caption is not None]
            said = "\0".join([str(len(texts)), *texts, *words, "\n"])
            digest.update(said.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:16]

    def with_words(self, tokenize: Callable[[str], list[str]]) -> CaptionedSamples:
        """Without captions that have no word, such as `...`; of a set with tokens, all captions have them.

        Raises:
            DataError: an image has no other.
        """
        captions: list[list[str]] = []
        tokens: list[list[list[str]]] = []
        for image, texts in enumerate(self.captions):
            words = self.tokens[image] if self.tokens is not None else [None] * len(texts)
            # a letter is a word or part of one; what has none is rare, and only that is worth the time of cutting up
            kept = [
                (text, known)
                for text, known in zip(texts, words, strict=True)
                if (known if known is not None else _LETTER.search(text) or tokenize(text))
            ]
            if not kept:
                said = f"only {texts[0]!r}, which has no word" if texts else "none"
                raise DataError(f"{self.split} split: {self.name_of(image)}: every image needs a caption, and this one has {said}; "
                                "give it one, or take it out of the list")  # fmt: skip
            captions.append([text for text, _ in kept])
            if self.tokens is not None:
                tokens.append([tokenize(text) if known is None else known for text, known in kept])
        return replace(self, captions=captions, tokens=tokens if self.tokens is not None else None)
