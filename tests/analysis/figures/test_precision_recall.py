"""Curves of precision against recall, against scikit-learn."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import average_precision_score
from torchmetrics.functional.classification import multiclass_precision_recall_curve

from project.analysis.figures import precision_recall_figure


def curves(classes=4, levels=50):
    """Probabilities that lie exactly on the thresholds, so that binning loses nothing."""
    torch.manual_seed(0)
    labels = torch.randint(0, classes, (400,))
    probabilities = torch.randint(0, levels + 1, (400, classes)) / levels
    probabilities[torch.arange(400), labels] = (
        probabilities[torch.arange(400), labels].sqrt().mul(levels).round() / levels
    )
    precision, recall, _ = multiclass_precision_recall_curve(
        probabilities, labels, classes, thresholds=torch.arange(levels + 1) / levels
    )
    areas = [average_precision_score(labels == c, probabilities[:, c]) for c in range(classes)]
    return precision, recall, areas


def test_areas_are_scikit_learns_and_the_worst_comes_first():
    precision, recall, areas = curves()
    figure = precision_recall_figure(precision, recall, ["$a$", "_b", "c", "d"], max_classes=3)
    worst = sorted(range(4), key=lambda c: areas[c])[:3]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [f"{areas[c]:.3f} {['$a$', '_b', 'c', 'd'][c]}" for c in worst]
    axes = figure.axes[0]
    assert axes.get_title(loc="left") == f"Mean average precision {sum(areas) / 4:.3f}"
    for line, c in zip(axes.lines, worst, strict=True):
        assert line.get_drawstyle() == "steps-post"  # a height counts to the left, to the next smaller recall
        x, y = line.get_xdata(), line.get_ydata()
        assert x == pytest.approx([*recall[c].tolist(), 0])
        assert y == pytest.approx([*precision[c].tolist(), precision[c][-1].item()])
        assert ((x[:-1] - x[1:]) * y[:-1]).sum() == pytest.approx(areas[c])
    assert figure.legends[0].get_title().get_text() == "the 3 worst of 4"


def test_a_class_without_samples_has_no_curve_and_no_part_in_the_mean():
    precision, recall, areas = curves()
    precision, recall = [*precision, torch.zeros(2)], [*recall, torch.full((2,), torch.nan)]
    figure = precision_recall_figure(precision, recall, ["a", "b", "c", "d", "none"])
    assert not any("none" in text.get_text() for text in figure.legends[0].get_texts())
    assert figure.axes[0].get_title(loc="left") == f"Mean average precision {sum(areas) / 4:.3f}"


def test_curves_of_all_probabilities_have_scikit_learns_areas_however_sure_the_network_is():
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (2000,))
    logits = 8 * torch.randn(2000, 3) + 12 * torch.nn.functional.one_hot(labels, 3)
    probabilities = logits.double().softmax(1)
    precision, recall, _ = multiclass_precision_recall_curve(probabilities, labels, 3)
    figure = precision_recall_figure(precision, recall, list("abc"))
    areas = [average_precision_score(labels == c, probabilities[:, c]) for c in range(3)]
    assert figure.axes[0].get_title(loc="left") == f"Mean average precision {sum(areas) / 3:.3f}"
    assert all(len(line.get_xdata()) <= 500 for line in figure.axes[0].lines)


def test_a_perfect_classifier_has_an_area_of_one():
    labels = torch.arange(3).repeat(5)
    precision, recall, _ = multiclass_precision_recall_curve(
        torch.nn.functional.one_hot(labels, 3).float(), labels, 3, thresholds=11
    )
    figure = precision_recall_figure(precision, recall, list("abc"))
    assert figure.axes[0].get_title(loc="left") == "Mean average precision 1.000"
    assert figure.legends[0].get_title().get_text() == "average precision"
