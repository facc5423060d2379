"""What a set of captions is like, whatever the references say: the alarm for a captioner that says one thing of all.

Shapes: N images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, pairwise
from typing import Any

import torch
from torch import Tensor

from project.metrics.captions.corpus import CaptionMetric, Corpus, MeanCaptionMetric
from project.metrics.ptb_tokenizer import ptb_tokenize

UNKNOWN = "<unk>"
"""The word that stands for all that are not in a vocabulary."""


class ExactMatch(MeanCaptionMetric):
    """Fraction of images whose caption is one of its references, token for token, 0..1; neighbours do not matter."""

    whole_text = False

    def scores(self, corpus: Corpus) -> Tensor:
        """1 or 0 for each image, (N,) float64."""
        images = zip(corpus.predictions, corpus.references, strict=True)
        return torch.tensor([prediction in references for prediction, references in images], dtype=torch.float64)


class CaptionDiversity(CaptionMetric):
    """How much the predicted captions differ from each other and from those trained on.

    `compute` gives a dictionary of float64 scalars, NaN where they are 0 / 0:

    - `distinct_1`, `distinct_2`: different words, and pairs of words, over their number (Li et al. 2016,
      arXiv:1510.03055, section 5.2, divides both by the number of words; here pairs by the number of pairs, so that 1
      is the highest)
    - `distinct_captions`: share of captions that are said once only, or for the first time
    - `novel_captions`: share that is no training caption, where these are given
    - `vocabulary_used`: number of different words
    - `mean_length`: in words
    - `unknown_rate`: share of words that are `<unk>`

    Args:
        training_captions: raw.
        tokenize: see `CaptionMetric`.
        **options: those of `torchmetrics.Metric`.
    """

    higher_is_better = None
    whole_text = False

    def __init__(
        self,
        training_captions: Iterable[str] | None = None,
        tokenize: Callable[[str], list[str]] = ptb_tokenize,
        **options: Any,
    ) -> None:
        super().__init__(tokenize, **options)
        self.known = None if training_captions is None else {" ".join(tokenize(text)) for text in training_captions}

    def compute(self) -> dict[str, Tensor]:
        """All of them by name."""
        captions = self.corpus().predictions
        words = [caption.split() for caption in captions]
        pairs = [pair for caption in words for pair in pairwise(caption)]
        flat = list(chain.from_iterable(words))
        values = {
            "distinct_1": _ratio(len(set(flat)), len(flat)),
            "distinct_2": _ratio(len(set(pairs)), len(pairs)),
            "distinct_captions": _ratio(len(set(captions)), len(captions)),
            "vocabulary_used": float(len(set(flat))),
            "mean_length": _ratio(len(flat), len(captions)),
            "unknown_rate": _ratio(flat.count(UNKNOWN), len(flat)),
        }
        if self.known is not None:
            values["novel_captions"] = _ratio(sum(caption not in self.known for caption in captions), len(captions))
        return {name: torch.tensor(value, dtype=torch.float64, device=self.device) for name, value in values.items()}


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
