"""Counts at thresholds against torchmetrics, and the curves that TensorBoard gets."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import average_precision_score
from tensorboard.util.tensor_util import make_ndarray
from torchmetrics.classification import MulticlassPrecisionRecallCurve

from project.callbacks.precision_recall import ThresholdCounts, average_precision


def some(count=500, classes=4):
    torch.manual_seed(0)
    labels = torch.randint(0, classes, (count,))
    logits = torch.randn(count, classes)
    logits[torch.arange(count), labels] += 1.5
    return logits.softmax(1), labels


def test_counts_equal_torchmetrics_whatever_the_batches():
    probabilities, labels = some()
    probabilities[0], probabilities[1] = torch.tensor([1.0, 0, 0, 0]), torch.tensor([0, 0, 0.25, 0.75])
    counts = ThresholdCounts(4, "cpu", 65)  # thresholds that are exact in binary
    reference = MulticlassPrecisionRecallCurve(4, thresholds=torch.arange(65) / 64)
    for batch, their in zip(probabilities.split(77), labels.split(77), strict=True):
        counts.update(batch, their)
        reference.update(batch, their)
    positive, negative = counts.compute()
    confusion = reference.confmat  # (T, K, true, said)
    assert torch.equal(positive, confusion[:, :, 1, 1].T)
    assert torch.equal(negative, confusion[:, :, 0, 1].T)


def test_the_area_is_scikit_learns():
    labels = some()[1]
    probabilities = (some()[0] * 64).floor() / 64
    counts = ThresholdCounts(4, "cpu", 65)
    counts.update(probabilities, labels)
    expected = [average_precision_score(labels == c, probabilities[:, c]) for c in range(4)]
    assert average_precision(*counts.compute()).tolist() == pytest.approx(expected, abs=1e-6)


def test_logits_that_are_no_numbers_leave_it_standing():
    counts = ThresholdCounts(2, "cpu")
    counts.update(torch.full((3, 2), torch.nan), torch.zeros(3, dtype=torch.int64))
    assert counts.compute()[0][:, 0].tolist() == [3, 0]


def curve(found, tag, place=-1):
    return make_ndarray(found.Tensors(f"precision_recall/{tag}")[place].tensor_proto)


def test_few_classes_have_a_curve_each_and_all_one_together(watched):
    found = watched.events
    tags = [tag for tag in found.Tags()["tensors"] if tag.startswith("precision_recall/")]
    assert sorted(tags) == [f"precision_recall/{name}" for name in ("a", "all", "b", "c")]
    everything = curve(found, "all")
    assert everything[:4].sum(0) == pytest.approx(6 * 3)  # images times classes, at every threshold
    assert everything[:4] == pytest.approx(sum(curve(found, name)[:4] for name in "abc"))
    true_positive, false_positive, true_negative, false_negative, precision, recall = everything
    assert (true_positive[0], false_positive[0], true_negative[0], false_negative[0]) == (6, 12, 0, 0)
    assert precision[0] == pytest.approx(1 / 3)
    assert recall[0] == 1
    assert [event.step for event in found.Tensors("precision_recall/a")] == [2, 5]


def test_of_many_classes_the_worst_are_shown_in_the_end(run, image_tree, fit_options, tmp_path, shown):
    names = tuple(f"n{number:02}" for number in range(14))
    images = image_tree(tmp_path / "many", 20, classes=names)
    assert run(*fit_options(images, tmp_path / "runs", "--watch.pictures", 1)) == 0
    found = shown(tmp_path / "runs/r/version_0")
    tags = [tag for tag in found.Tags()["tensors"] if tag.startswith("precision_recall/")]
    assert len(tags) == 11
    assert len(found.Tensors("precision_recall/all")) == 2
    for tag in set(tags) - {"precision_recall/all"}:
        assert [event.step for event in found.Tensors(tag)] == [found.Tensors("precision_recall/all")[-1].step]
