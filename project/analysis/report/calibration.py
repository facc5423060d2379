"""Whether a classifier is right as often as it says.

Shapes: N samples, K classes, M bins, R resamples.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from project.analysis.bootstrap import bootstrap
from project.analysis.figures import reliability_figure
from project.analysis.report.document import Block, Note, Numbers, Picture, Section, Table, Value
from project.analysis.report.subject import Subject
from project.metrics.calibration import Bins, CalibrationError

_VARIANTS = ("as the network says", "with temperature")


def calibration_section(subject: Subject) -> Section:
    """Errors of the probabilities before and after temperature scaling."""
    outcomes = subject.outcomes
    rows: list[list[Value]] = []
    bin_rows: list[list[Value]] = []
    pictures = []
    for name, temperature in zip(_VARIANTS, (1.0, outcomes.temperature), strict=True):
        logits = outcomes.logits.double() / temperature
        statistic = _Calibration(logits, outcomes.labels)
        rows.append([name, *bootstrap(statistic, len(outcomes), subject.seed)])
        bins = bins_of(logits.softmax(1), outcomes.labels)
        edges = torch.linspace(0, 1, len(bins.count) + 1)[:-1]
        bin_rows += [
            [name, *row]
            for row in zip(
                edges.tolist(), bins.count.long().tolist(), *(part.tolist() for part in bins[1:]), strict=True
            )
        ]
        text = f"Reliability diagram {name}: accuracy against the probability of the prediction in 15 bins."
        pictures.append(Picture.of(reliability_figure(bins, name.capitalize()), text))
    blocks: list[Block] = [
        Numbers("scaling", {"temperature": outcomes.temperature}),
        Table("errors", ("probabilities", "ece", "mce", "brier", "nll"), rows, "Errors of the probabilities"),
        *pictures,
        Table("bins", ("probabilities", "bin", "bin_samples", "bin_confidence", "bin_accuracy"), bin_rows, "Bins", 0),
    ]
    if subject.classifier.tta is not None:
        blocks.append(Note("The temperature was found for single views. These are the means of several (model.tta), which "
                           "may need another."))  # fmt: skip
    if outcomes.split == "val":
        blocks.append(
            Note("The temperature was found on this very split, so what it improves here is more than elsewhere.")
        )
    introduction = (
        "Of all answers of 90 %, are nine in ten right? The temperature changes how sure they are, and no answer."
    )
    return Section("calibration", "Calibration", introduction, blocks)


def bins_of(probabilities: Tensor, labels: Tensor) -> Bins:
    """The bins of a reliability diagram of probabilities (N, K) and labels (N,)."""
    metric = CalibrationError()
    metric.update(probabilities, labels)
    return metric.bins()


class _Calibration:
    """ECE, MCE, Brier score and negative log-likelihood of resamples, (R, 4).

    Args:
        logits: (N, K) float64.
        labels: (N,) int64.
        num_bins: M.
    """

    def __init__(self, logits: Tensor, labels: Tensor, num_bins: int = 15) -> None:
        probabilities = logits.softmax(1)
        confidence, predicted = probabilities.max(1)
        edges = torch.linspace(0, 1, num_bins + 1)[1:-1]
        self.bins = torch.bucketize(confidence.float(), edges, right=True)  # as `CalibrationError` does
        self.num_bins = num_bins
        self.surplus = confidence - (predicted == labels).double()
        hits = functional.one_hot(labels, logits.shape[1])
        brier = (probabilities - hits).square().sum(1)
        self.means = torch.stack([brier, functional.cross_entropy(logits, labels, reduction="none")], dim=1)

    def __call__(self, counts: Tensor) -> Tensor:
        zeros = counts.new_zeros(len(counts), self.num_bins)
        filled = zeros.index_add(1, self.bins, counts)
        error = zeros.index_add(1, self.bins, counts * self.surplus).abs()
        size = counts.sum(1, keepdim=True)
        largest = (error / filled.clamp(min=1)).amax(1, keepdim=True)
        return torch.cat([error.sum(1, keepdim=True) / size, largest, counts @ self.means / size], dim=1)
