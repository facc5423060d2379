"""How often a classifier is right, of all samples and of each class.

Shapes: N samples, K classes, R resamples.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix, multiclass_precision_recall_curve

from project.analysis.bootstrap import Estimate, bootstrap
from project.analysis.figures import class_figure, confusion_figure, precision_recall_figure
from project.analysis.outcomes import Outcomes
from project.analysis.report.document import Block, Data, Numbers, Picture, Section, Table, Value
from project.analysis.report.subject import Subject

_MATRIX_CLASSES = 1000  # above it the matrix is too large to write
_PAIRS = 20
_Row = tuple[str, int, Estimate, Estimate, Estimate]
"""A class, its samples, precision, recall and F1."""


def accuracy_section(subject: Subject) -> Section:
    """Accuracy, precision, recall and F1 with their intervals."""
    outcomes = subject.outcomes
    num_classes = len(outcomes.class_names)
    estimates = bootstrap(lambda counts: class_scores(outcomes, counts), len(outcomes), subject.seed)
    top5, (accuracy, *macro), each = estimates[0], estimates[1:5], estimates[5:]
    values: dict[str, Value] = {"accuracy": accuracy}
    if num_classes > 5:
        values["accuracy_top5"] = top5
    values |= dict(zip(("precision", "recall", "f1"), macro, strict=True))
    support = outcomes.labels.bincount(minlength=num_classes).tolist()
    rows: list[_Row] = [
        (name, support[k], each[3 * k], each[3 * k + 1], each[3 * k + 2]) for k, name in enumerate(outcomes.class_names)
    ]
    worst_first = sorted(rows, key=lambda row: row[4].value if row[4].value == row[4].value else 2)
    recall = torch.tensor([row[3].value for row in rows])
    columns = ("class", "support", "precision", "recall", "f1")
    blocks: list[Block] = [
        Numbers("all", values),
        Picture.of(class_figure(recall, outcomes.class_names, "recall"), _bars_text(rows), "Recall of each class."),
        Table("classes", columns, worst_first, "By class, the least F1 first"),
    ]
    if num_classes <= _MATRIX_CLASSES:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "No positive samples found in target")
            heights, widths, _ = multiclass_precision_recall_curve(outcomes.probabilities, outcomes.labels, num_classes)
        # where a class has no samples torchmetrics sets its recall to 1
        widths = [
            width if count else torch.full_like(width, torch.nan) for width, count in zip(widths, support, strict=True)
        ]
        figure = precision_recall_figure(heights, widths, outcomes.class_names)
        text = "Precision against recall, a curve for each of the classes with the least average precision."
        blocks.insert(2, Picture.of(figure, text, "Precision and recall at every threshold of the probability."))
    return Section("accuracy", "Accuracy", f"Of {len(outcomes):,} samples of the {outcomes.split} split.", blocks)


def confusion_section(subject: Subject) -> Section:
    """Which classes are taken for which."""
    outcomes = subject.outcomes
    names = outcomes.class_names
    matrix = multiclass_confusion_matrix(outcomes.predictions, outcomes.labels, len(names))
    off = matrix - matrix.diag().diag()
    counts, places = off.flatten().sort(descending=True, stable=True)
    support = matrix.sum(1)
    rows = [
        [names[place // len(names)], names[place % len(names)], count, count / support[place // len(names)].item()]
        for count, place in zip(counts[:_PAIRS].tolist(), places[:_PAIRS].tolist(), strict=True)
        if count
    ]
    columns = ("true_class", "predicted_class", "confused", "confused_share")
    blocks: list[Block] = []
    if len(names) <= _MATRIX_CLASSES:
        text = f"Confusion matrix of {len(names)} classes; {off.sum().item():,} samples are off its diagonal."
        caption = "Rows are true classes, columns predictions; the colour is the share of the row."
        blocks += [
            Picture.of(confusion_figure(matrix, names), text, caption),
            Data("confusion", matrix.tolist()),
        ]
    blocks.append(Table("pairs", columns, rows, "The pairs that are confused most"))
    return Section("confusion", "Confusion", "Which classes are taken for which.", blocks)


def class_scores(outcomes: Outcomes, counts: Tensor) -> Tensor:
    """Top-5 accuracy, accuracy, macro precision, recall and F1, and the latter three of each class, (R, 5 + 3 K).

    Classes that are in neither the labels nor the predictions are NaN and left out of the means, as in torchmetrics. A
    class that is predicted and has no samples counts as 0 in the means; its own recall and F1 are NaN.
    """
    labels, num_classes = outcomes.labels, len(outcomes.class_names)
    in_five = (outcomes.logits.topk(min(5, num_classes), 1).indices == labels[:, None]).any(1)
    overall = counts @ torch.stack([in_five, outcomes.correct], 1).double() / counts.sum(1, keepdim=True)

    def by_class(weights: Tensor, classes: Tensor) -> Tensor:
        return weights.new_zeros(len(weights), num_classes).index_add_(1, classes, weights)

    true, said = by_class(counts, labels), by_class(counts, outcomes.predictions)
    hits = by_class(counts * outcomes.correct, labels)
    scores = torch.stack(
        [hits / said.clamp(min=1), hits / true.clamp(min=1), 2 * hits / (true + said).clamp(min=1)], dim=2
    )
    scores = scores.masked_fill((true + said == 0)[..., None], torch.nan)
    macro = scores.nanmean(1)
    scores[..., 1:].masked_fill_((true == 0)[..., None], torch.nan)
    return torch.cat([overall, macro, scores.flatten(1)], dim=1)


def _bars_text(rows: list[_Row]) -> str:
    known = [row for row in rows if row[1]]
    worst = min(known, key=lambda row: row[3].value)
    return f"Recall of each class as bars; the least is {worst[3].value:.1%}, of {worst[0]}."
