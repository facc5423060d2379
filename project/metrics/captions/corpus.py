"""State of caption metrics: the captions themselves, as bytes that processes can exchange.

Shapes: N images.
"""

from __future__ import annotations

import functools
import json
from abc import abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from project.metrics.ptb_tokenizer import ptb_tokenize, ptb_tokenize_file

_FIELD, _RECORD = b"\xfe", b"\xff"  # no bytes of UTF-8


class Corpus(NamedTuple):
    """For each of N images one predicted caption and its references; what is scored are tokens joined by a space."""

    ids: list[Hashable]
    predictions: list[str]
    references: list[list[str]]


class CaptionMetric(Metric):
    """A metric of predicted captions against the references of their images.

    Its state is the text and no more. Several processes exchange it whole, so that what they compute is what one process
    computes of everything, and an image that two of them saw counts once. Metrics of this kind in one `MetricCollection`
    share the state.

    coco-caption's tokeniser reads all predictions as one text and all references as another, and a caption's last token
    may depend on the next caption. So the captions are tokenised together, in the order of their ids: integers by size,
    strings after them; without ids in the order in which they came.

    Args:
        tokenize: makes tokens of a caption; coco-caption's tokeniser by default, which is for English. Of other languages
            give one that makes the words that captions are written in; it reads each caption by itself, and scores
            compare only with those of the same one.
        **options: those of `torchmetrics.Metric`.
    """

    full_state_update = False
    whole_text = True
    """Whether captions are tokenised together, as coco-caption does; else each by itself."""
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
                The images are scored in the order of their ids. Without ids every image is another one.

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
        data = bytearray(b"".join(_record(*image) for image in images))
        if data:
            self.records.append(torch.frombuffer(data, dtype=torch.uint8).to(self.device))

    def corpus(self) -> Corpus:
        """All captions so far, tokenised, of this process or, inside `sync_context`, of all."""
        return _corpus(self._bytes(), self.tokenize, self.whole_text)

    def captions(self) -> Corpus:
        """All captions so far as they were given, of all processes; every process must call it."""
        with self.sync_context(should_sync=self._to_sync, should_unsync=True):
            return _captions(self._bytes())

    def _bytes(self) -> bytes:
        return dim_zero_cat(self.records).cpu().numpy().tobytes()


def _record(key: Hashable, prediction: str, references: Sequence[str]) -> bytes:
    if isinstance(references, str):
        raise TypeError(f"references of image {key!r}: a list of captions is needed; got one string")
    if not references:
        raise ValueError(f"image {key!r} has no reference")
    fields = ["" if key is None else json.dumps(key), prediction, *references]
    return _FIELD.join(field.encode("utf-8", "surrogatepass") for field in fields) + _RECORD  # JSON may hold halves


@functools.lru_cache(maxsize=2)  # the metrics of a collection ask one after the other
def _corpus(records: bytes, tokenize: Callable[[str], list[str]], whole_text: bool) -> Corpus:
    ids, predictions, references = _captions(records)
    tokens = iter(_tokenized([text for texts in references for text in texts], tokenize, whole_text))
    return Corpus(
        ids,
        _tokenized(predictions, tokenize, whole_text),
        [[next(tokens) for _ in texts] for texts in references],
    )


def _captions(records: bytes) -> Corpus:
    images: dict[Any, list[str]] = {}
    ordered = True
    for place, record in enumerate(records.split(_RECORD)[:-1]):
        key, *texts = (field.decode("utf-8", "surrogatepass") for field in record.split(_FIELD))
        ordered &= bool(key)
        images.setdefault((0, json.loads(key)) if key else (1, place), texts)
    if ordered:  # the same whichever process saw what
        images = dict(sorted(images.items(), key=lambda image: (isinstance(image[0][1], str), image[0][1])))
    return Corpus(
        [key for _, key in images],
        [texts[0] for texts in images.values()],
        [texts[1:] for texts in images.values()],
    )


def _tokenized(texts: list[str], tokenize: Callable[[str], list[str]], whole_text: bool) -> list[str]:
    """Tokens of each text, joined by a space."""
    together = whole_text and tokenize is ptb_tokenize
    return [" ".join(tokens) for tokens in (ptb_tokenize_file(texts) if together else map(tokenize, texts))]


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
