"""CIDEr-D as coco-caption computes it.

Shapes: N images, R references of all of them together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from project.metrics.captions.corpus import Corpus, MeanCaptionMetric
from project.metrics.captions.ngrams import ORDERS, Grams, NgramCounts, look_up
from project.metrics.ptb_tokenizer import ptb_tokenize

ONE_IMAGE = "cider_d is 0 because one image alone was scored: n-grams that occur with every image have no weight; score more images"
"""The note where one image is scored without the frequencies of a fixed corpus."""
_SIGMA = 6.0


@dataclass(frozen=True)
class DocumentFrequencies:
    """In the references of how many images of a corpus each n-gram occurs.

    counts: by the n-gram's words. num_images: in the corpus.
    """

    counts: dict[tuple[str, ...], int]
    num_images: int

    @classmethod
    def of(cls, references: Iterable[Sequence[str]], tokenize: Callable[[str], list[str]] = ptb_tokenize) -> Self:
        """Those of a corpus: for each image one or more captions, raw."""
        counts: Counter[tuple[str, ...]] = Counter()
        num_images = 0
        for captions in references:
            num_images += 1
            grams: set[tuple[str, ...]] = set()
            for words in (" ".join(tokenize(caption)).split() for caption in captions):
                grams.update(tuple(words[i : i + n]) for n in range(1, ORDERS + 1) for i in range(len(words) - n + 1))
            counts.update(grams)
        return cls(dict(counts), num_images)


class CIDErD(MeanCaptionMetric):
    """CIDEr-D, 0..10: likeness to an image's references, rare n-grams counting more (Vedantam et al. 2015, section 4).

    With coco-caption's particulars, where it is called CIDEr: an n-gram g weighs log N - log max(1, df(g)) times its
    plain count, with df(g) the number of images whose references have it; similarities are clipped and multiplied with
    exp(-(l - l')² / 72); the lengths l are numbers of bigrams; n runs from 1 to 4; and the mean is multiplied by 10.

    The weights depend on the images scored with it: adding images changes every score, a subset's score cannot be
    compared with the whole's, and one image alone has 0. With the frequencies of a fixed corpus none of this holds.

    Args:
        document_frequencies: those of a fixed corpus; by default of the references that are scored.
        tokenize: see `CaptionMetric`.
        **options: those of `torchmetrics.Metric`.
    """

    def __init__(
        self,
        document_frequencies: DocumentFrequencies | None = None,
        tokenize: Callable[[str], list[str]] = ptb_tokenize,
        **options: Any,
    ) -> None:
        super().__init__(tokenize, **options)
        self.document_frequencies = document_frequencies

    def scores(self, corpus: Corpus) -> Tensor:
        """Each image's score, (N,) float64."""
        predictions = [text.split() for text in corpus.predictions]
        num_images = len(predictions)
        if not num_images:
            return torch.empty(0, dtype=torch.float64)
        counts = NgramCounts(predictions + [text.split() for texts in corpus.references for text in texts])
        num_references = np.array([len(texts) for texts in corpus.references])
        image = np.repeat(np.arange(num_images), num_references)  # of each reference
        similarity = sum(self._similarity(grams, counts, image, num_images) for grams in counts.orders)
        # in bigrams as in words, but for captions of none, which are like nothing
        difference = counts.lengths[:num_images][image] - counts.lengths[num_images:]
        similarity = similarity * np.exp(-(difference**2) / (2 * _SIGMA**2))
        return torch.from_numpy(10 * np.bincount(image, similarity, num_images) / ORDERS / num_references)

    def _similarity(self, grams: Grams, counts: NgramCounts, image: np.ndarray, num_images: int) -> np.ndarray:
        """Of each reference and its image's prediction, (R,) float64: the clipped cosine of one order's n-grams."""
        referred = grams.caption >= num_images
        reference = grams.caption[referred] - num_images
        key = image[reference] * grams.size + grams.gram[referred]
        vector = grams.count * self._weights(grams, counts, key, num_images)[grams.gram]
        norm = np.sqrt(np.bincount(grams.caption, vector**2, len(counts.lengths)))

        predicted_keys = (grams.caption * grams.size + grams.gram)[~referred]  # ascending, as the counts are
        predicted = look_up(predicted_keys, vector[~referred], key)
        dot = np.bincount(reference, np.minimum(predicted, vector[referred]) * vector[referred], len(image))
        norms = norm[:num_images][image] * norm[num_images:]
        return dot / np.where(norms > 0, norms, 1.0)

    def _weights(self, grams: Grams, counts: NgramCounts, key: np.ndarray, num_images: int) -> np.ndarray:
        """Of each n-gram, (G,) float64; `key` is image · G + n-gram for each one of a reference."""
        if self.document_frequencies is None:
            frequency = np.bincount(np.unique(key) % grams.size, minlength=grams.size)
        else:
            num_images, frequencies = self.document_frequencies.num_images, self.document_frequencies.counts
            words = counts.vocabulary
            frequency = np.array([frequencies.get(tuple(words[i] for i in row), 0) for row in grams.words.tolist()])
        return math.log(max(num_images, 1)) - np.log(np.maximum(frequency, 1))
