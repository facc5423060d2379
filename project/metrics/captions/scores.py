"""All that a captioner is measured by on one split, from one copy of the captions."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

from torch import nn
from torchmetrics import Metric, MetricCollection

from project.metrics.captions.bleu import BLEU
from project.metrics.captions.cider import CIDErD
from project.metrics.captions.corpus import CaptionMetric, Corpus
from project.metrics.captions.diversity import CaptionDiversity, ExactMatch
from project.metrics.captions.rouge import ROUGEL
from project.metrics.ptb_tokenizer import ptb_tokenize


class CaptionScores(nn.Module):
    """BLEU-1 to 4, ROUGE-L, CIDEr-D, exact match and diversity, tokenised once and kept once.

    Args:
        training_captions: raw, for the share of novel captions.
        tokenize: see `CaptionMetric`. Another one than the default is for other languages than English, and its scores
            compare only with those of the same one.
    """

    def __init__(
        self,
        training_captions: Iterable[str] | None = None,
        tokenize: Callable[[str], list[str]] = ptb_tokenize,
    ) -> None:
        super().__init__()
        metrics: dict[str, Metric | MetricCollection] = {
            "bleu": BLEU(tokenize=tokenize),
            "rouge_l": ROUGEL(tokenize=tokenize),
            "cider_d": CIDErD(tokenize=tokenize),
            "exact_match": ExactMatch(tokenize=tokenize),
            "diversity": CaptionDiversity(training_captions, tokenize),
        }
        # which share their state from the first batch on, where torchmetrics would find it out after it
        self.metrics = MetricCollection(metrics, compute_groups=[list(metrics)])

    def update(
        self, predictions: Sequence[str], references: Sequence[Sequence[str]], ids: Sequence[Hashable] | None = None
    ) -> None:
        """Adds a batch; see `CaptionMetric.update`."""
        self.metrics.update(predictions, references, ids)

    def compute(self) -> dict[str, float]:
        """Each by its name: `bleu_1` to `bleu_4`, `rouge_l`, `cider_d`, `exact_match`, and `CaptionDiversity`'s."""
        values = self.metrics.compute()
        bleu = {f"bleu_{n}": value for n, value in enumerate(values.pop("bleu"), start=1)}
        return {name: value.item() for name, value in (bleu | values).items()}

    def captions(self) -> Corpus:
        """All captions and references as they were given, in the order in which they are scored; every process must call it."""
        metric: CaptionMetric = self.metrics["bleu"]  # type: ignore[assignment]  # all share the text
        return metric.captions()

    def reset(self) -> None:
        """Forgets everything, for a new epoch."""
        self.metrics.reset()
