"""BLEU as coco-caption computes it.

Shapes: N images.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from project.metrics.captions.corpus import Corpus, ImageCaptionMetric
from project.metrics.captions.ngrams import ORDERS, NgramCounts, look_up

_TINY, _SMALL = 1e-15, 1e-9


class BLEU(ImageCaptionMetric):
    """BLEU-1 to BLEU-4 of a corpus, (4,) float64 in 0..1 (Papineni et al. 2002, doi:10.3115/1073083.1073135).

    With coco-caption's particulars: n-grams are clipped by the largest count in any one reference, the length compared
    with is the closest reference's (of two equally close ones the shorter), and BLEU-k is

        (Π_{j≤k} (C_j + 1e-15) / (G_j + 1e-9))^(1/k) · min(1, exp(1 - R / T))

    of the C_j matched among G_j predicted j-grams, and T predicted words against R. NaN without images.
    """

    def compute(self) -> Tensor:
        """BLEU-1 to BLEU-4, (4,)."""
        corpus = self.corpus()
        if not corpus.ids:
            return torch.full((ORDERS,), torch.nan, dtype=torch.float64, device=self.device)
        totals = _Statistics(*(part.sum(0, keepdims=True) for part in _statistics(corpus)))
        return torch.from_numpy(_bleu(totals)[0]).to(self.device)

    def scores(self, corpus: Corpus) -> Tensor:
        """BLEU-1 to BLEU-4 of each image by itself, (N, 4)."""
        return torch.from_numpy(_bleu(_statistics(corpus)))


class _Statistics(NamedTuple):
    """What BLEU is made of, int64: n-grams that matched and that were predicted, each (N, 4); words, each (N,)."""

    matched: np.ndarray
    predicted: np.ndarray
    length: np.ndarray
    reference_length: np.ndarray


def _bleu(statistics: _Statistics) -> np.ndarray:
    matched, predicted, length, reference_length = statistics
    precision = ((matched + _TINY) / (predicted + _SMALL)).cumprod(axis=1)
    geometric_mean = precision ** (1 / np.arange(1, ORDERS + 1))
    ratio = (length + _TINY) / (reference_length + _SMALL)
    return geometric_mean * np.exp(np.minimum(1 - 1 / ratio, 0))[:, None]


def _statistics(corpus: Corpus) -> _Statistics:
    predictions = [text.split() for text in corpus.predictions]
    num_images = len(predictions)
    counts = NgramCounts(predictions + [text.split() for texts in corpus.references for text in texts])
    image = np.repeat(np.arange(num_images), [len(texts) for texts in corpus.references])  # of each reference
    matched = np.zeros((num_images, ORDERS), np.int64)
    for n, grams in enumerate(counts.orders):
        predicted = grams.caption < num_images
        references = ~predicted
        key = image[grams.caption[references] - num_images] * grams.size + grams.gram[references]
        keys, place = np.unique(key, return_inverse=True)
        most = np.zeros(len(keys), np.int64)
        np.maximum.at(most, place, grams.count[references])
        wanted = grams.caption[predicted] * grams.size + grams.gram[predicted]
        hits = np.minimum(grams.count[predicted], look_up(keys, most, wanted))
        matched[:, n] = np.bincount(grams.caption[predicted], hits, num_images)

    length, lengths = counts.lengths[:num_images], counts.lengths[num_images:]
    num_grams = (length[:, None] - np.arange(ORDERS)).clip(min=0)
    beyond = int(counts.lengths.max()) + 1
    nearest = np.full(num_images, beyond * beyond)
    np.minimum.at(nearest, image, np.abs(lengths - length[image]) * beyond + lengths)  # ties to the shorter
    return _Statistics(matched, num_grams, length, nearest % beyond)
