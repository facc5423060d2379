"""ROUGE-L as coco-caption computes it.

Shapes: N images.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from project.metrics.captions.corpus import Corpus, MeanCaptionMetric

_BETA = 1.2


class ROUGEL(MeanCaptionMetric):
    """ROUGE-L, 0..1: the mean over images of an F-measure of longest common subsequences (Lin 2004, section 3).

    With coco-caption's particulars: of an image's references the largest precision P and the largest recall R are taken
    apart from each other; F = (1 + β²) P R / (R + β² P) with β = 1.2; and an empty caption is one empty word.
    """

    def scores(self, corpus: Corpus) -> Tensor:
        """Each image's F, (N,) float64."""
        images = zip(corpus.predictions, corpus.references, strict=True)
        return torch.tensor([_f_measure(*image) for image in images], dtype=torch.float64)


def _f_measure(prediction: str, references: Sequence[str]) -> float:
    words = prediction.split(" ")
    masks: defaultdict[str, int] = defaultdict(int)
    for place, word in enumerate(words):
        masks[word] |= 1 << place
    precision = recall = 0.0
    for reference in references:
        others = reference.split(" ")
        common = _common_subsequence(masks, len(words), others)
        precision = max(precision, common / len(words))
        recall = max(recall, common / len(others))
    if not precision:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def _common_subsequence(masks: dict[str, int], length: int, others: Sequence[str]) -> int:
    """Length of the longest common subsequence of `length` words, by their places in `masks`, and `others`.

    A column of the usual table is one integer, whose zeros are the steps in it (Hyyrö 2004).
    """
    everywhere = (1 << length) - 1
    column = everywhere
    for word in others:
        if mask := masks.get(word, 0):
            hits = column & mask
            column = ((column + hits) | (column - hits)) & everywhere
    return length - column.bit_count()
