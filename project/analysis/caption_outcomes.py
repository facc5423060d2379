"""What a captioner says of every image of a split, found once, and how like the references each caption is.

Shapes: N images.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from project.analysis.outcomes import existing_split
from project.data.captions.base import CaptionDataModule
from project.data.captions.tokenizers import Tokenizer, metric_tokenizer
from project.data.samples import Split
from project.metrics.captions import CaptionScores
from project.tasks import Captioner
from project.tasks.caption_search import CaptionSearch, Decoding


@dataclass(frozen=True)
class CaptionOutcomes:
    """One caption an image, in the order of the split.

    Attributes:
        split: the one that was looked at.
        captions: the best one of each of the N images.
        references: of each image, one or more.
        training_captions: which tell a new caption from a learned one.
        tokenizer: of all these captions, which are as metrics read them.
        log_probability: (N,) float64, of each caption with its end, in nats.
        num_tokens: (N,) int64, words of each caption and its end, if it has one.
        finished: (N,) bool, whether it ended by itself.
        seconds: per image, from the batch on the device to its captions; measured after a first search.
    """

    split: Split
    captions: list[str]
    references: list[list[str]]
    training_captions: list[str]
    tokenizer: Tokenizer
    log_probability: Tensor
    num_tokens: Tensor
    finished: Tensor
    seconds: float

    def __len__(self) -> int:
        return len(self.captions)

    @cached_property
    def _metrics(self) -> CaptionScores:
        metrics = CaptionScores(self.training_captions, tokenize=metric_tokenizer(self.tokenizer))
        metrics.update(self.captions, self.references, range(len(self)))
        return metrics

    @cached_property
    def scores(self) -> dict[str, float]:
        """Of the whole split, as `CaptionScores` names them, and the share `cut_rate` that did not end by itself."""
        return self._metrics.compute() | {"cut_rate": (~self.finished).double().mean().item()}

    @cached_property
    def cider_d(self) -> Tensor:
        """Of each image, (N,) float64; how rare an n-gram is, is counted in this split."""
        return self._per_image("cider_d")

    @cached_property
    def rouge_l(self) -> Tensor:
        """Of each image, (N,) float64."""
        return self._per_image("rouge_l")

    @cached_property
    def exact_match(self) -> Tensor:
        """1 or 0 of each image, (N,) float64."""
        return self._per_image("exact_match")

    @cached_property
    def reference_words(self) -> Tensor:
        """The mean length of each image's references, (N,) float64."""
        return torch.tensor(
            [fmean(len(text.split()) for text in texts) for texts in self.references], dtype=torch.float64
        )

    @property
    def word_probability(self) -> Tensor:
        """The geometric mean over a caption's tokens, (N,) float64."""
        return (self.log_probability / self.num_tokens.clamp(min=1)).exp()

    def _per_image(self, name: str) -> Tensor:
        metric: Any = self._metrics.metrics[name]
        found = metric.per_image()
        return torch.stack([found[i] for i in range(len(self))])


@torch.no_grad()
def collect_captions(
    captioner: Captioner, data: CaptionDataModule, split: Split = "test", decoding: Decoding | None = None
) -> CaptionOutcomes:
    """Captions of a whole split, in the captioner's precision, as `test` has them.

    Args:
        captioner: on the device that is to be used.
        data: its data.
        split: a set without test images has its validation split in the place of `test`.
        decoding: the search; by default the captioner's own.
    """
    split = existing_split(data, split)
    captioner.check_data(data)
    captioner.eval()
    answers: list[dict[str, Any]] = []
    indices: list[int] = []
    seconds = 0.0
    with searching(captioner, decoding or captioner.search.decoding):
        for batch in data.batches_in_order(split, captioner.device):
            if not indices:  # the first search of a network takes longer, and is no part of the time
                with torch.random.fork_rng():
                    captioner.answers(batch.images)
            start = time.perf_counter()
            # of what else is answered, maps of attention would fill the memory
            with captioner.computing():
                answers += [_brief(answer) for answer in captioner.answers(batch.images)]
            seconds += time.perf_counter() - start
            indices += batch.indices.tolist()
    return CaptionOutcomes(
        split,
        [answer["caption"] for answer in answers],
        [data.references(split)[i] for i in indices],
        data.training_captions,
        captioner.tokenizer,
        torch.tensor([answer["log_probability"] for answer in answers], dtype=torch.float64),
        torch.tensor([answer["num_tokens"] for answer in answers]),
        torch.tensor([answer["finished"] for answer in answers]),
        seconds / max(len(answers), 1),
    )


@contextmanager
def searching(captioner: Captioner, decoding: Decoding) -> Iterator[None]:
    """Inside it a captioner searches in another way."""
    captioner.open_ensemble()  # or the first search would open it for itself alone
    own = captioner.search
    captioner.search = CaptionSearch(own.networks, decoding, captioner.hparams["max_words"])
    try:
        yield
    finally:
        captioner.search = own


def _brief(answer: dict[str, Any]) -> dict[str, Any]:
    return {
        "caption": " ".join(word["word"] for word in answer["words"]),
        "log_probability": answer["log_probability"],
        "num_tokens": len(answer["words"]) + answer["finished"],
        "finished": answer["finished"],
    }
