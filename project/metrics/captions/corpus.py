"""What every caption metric keeps: the captions themselves, tokenised, as bytes that processes can exchange.

Shapes: N images.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from project.metrics.ptb_tokenizer import ptb_tokenize

_FIELD, _RECORD = "\x1f", "\x1e"
_SEPARATORS = str.maketrans({_FIELD: " ", _RECORD: " "})


class Corpus(NamedTuple):
    """What is scored: for each of N images one predicted caption and its references, as tokens joined by a space."""

    ids: list[Hashable]
    predictions: list[str]
    references: list[list[str]]


class CaptionMetric(Metric):
    """A metric of predicted captions against the references of their images.

    Its state is the tokenised text and no more. Several processes exchange it whole, so that what they compute is what
    one process computes of everything, and an image that two of them saw counts once. Metrics of this kind in one
    `MetricCollection` share the state.

    Args:
        tokenize: makes tokens of a caption; coco-caption's tokeniser by default, which is for English. Of other languages
            give one that makes the words that captions are written in; scores compare only with those of the same one.
        **options: those of `torchmetrics.Metric`.
    """

    full_state_update = False
    records: list[Tensor]

    def __init__(self, tokenize: Callable[[str], list[str]] = ptb_tokenize, **options: Any) -> None:
        super().__init__(**options)
        self.tokenize = tokenize
        self.add_state("records", [], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        super().reset()
        # a process without any captions would hand floats to the others, whose bytes do not fit
        self.records.append(torch.empty(0, dtype=torch.uint8, device=self.device))

    def update(
        self, predictions: Sequence[str], references: Sequence[Sequence[str]], ids: Sequence[Hashable] | None = None
    ) -> None:
        """Adds a batch of images.

        Args:
            predictions: one caption for each image, raw.
            references: one or more captions for each image, raw.
            ids: an integer or a string for each image, to know it by when it comes again; the first time counts.
                Without ids every image is another one.

        Raises:
            ValueError: the arguments differ in length, or an image has no reference.
            TypeError: an image's references are one string.
        """
        ids = [None] * len(predictions) if ids is None else ids
        if not len(predictions) == len(references) == len(ids):
            raise ValueError(
                f"{len(predictions)} predictions, {len(references)} lists of references and {len(ids)} ids: "
                "there must be one of each for every image"
            )
        images = zip(ids, predictions, references, strict=True)
        text = "".join(self._record(*image) + _RECORD for image in images)
        data = bytearray(text.encode("utf-8", "surrogatepass"))  # JSON may hold halves of characters
        if data:
            self.records.append(torch.frombuffer(data, dtype=torch.uint8).to(self.device))

    def _record(self, key: Hashable, prediction: str, references: Sequence[str]) -> str:
        if isinstance(references, str):
            raise TypeError(f"references of image {key!r}: a list of captions is needed; got one string")
        if not references:
            raise ValueError(f"image {key!r} has no reference")
        texts = [" ".join(self.tokenize(text)).translate(_SEPARATORS) for text in (prediction, *references)]
        return _FIELD.join(["" if key is None else json.dumps(key), *texts])

    def corpus(self) -> Corpus:
        """All captions so far, of this process or, inside `sync_context`, of all."""
        text = dim_zero_cat(self.records).cpu().numpy().tobytes().decode("utf-8", "surrogatepass")
        images: dict[Any, list[str]] = {}
        for place, record in enumerate(text.split(_RECORD)[:-1]):
            key, *texts = record.split(_FIELD)
            images.setdefault(key or place, texts)
        if all(isinstance(key, str) for key in images):  # sums are the same to the last bit whichever process saw what
            images = dict(sorted(images.items()))
        ids = [json.loads(key) if isinstance(key, str) else key for key in images]
        return Corpus(ids, [texts[0] for texts in images.values()], [texts[1:] for texts in images.values()])


class ImageCaptionMetric(CaptionMetric):
    """A caption metric that has a score of each image, too."""

    higher_is_better = True

    def per_image(self) -> dict[Hashable, Tensor]:
        """The score of each image by its id, or by its place where it has none; every process must call it."""
        with self.sync_context(should_sync=self._to_sync, should_unsync=True):
            corpus = self.corpus()
        return dict(zip(corpus.ids, self.scores(corpus), strict=True))

    @abstractmethod
    def scores(self, corpus: Corpus) -> Tensor:
        """Each image's score, (N, ...) float64."""


class MeanCaptionMetric(ImageCaptionMetric):
    """A caption metric whose score of a corpus is the mean over its images."""

    def compute(self) -> Tensor:
        """The mean, a float64 scalar; NaN without images."""
        return self.scores(self.corpus()).mean(dim=0).to(self.device)
