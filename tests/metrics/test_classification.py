"""Against scikit-learn, on random logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from project.metrics import classification_metrics
from project.metrics.calibration import TemperatureSearch
from project.metrics.classification import ClassAccuracy, SplitScores


def random_logits(num_classes: int, count: int = 211, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (count,), generator=generator)
    logits = torch.randn(count, num_classes, generator=generator)
    return logits + 1.5 * torch.nn.functional.one_hot(labels, num_classes), labels


@pytest.mark.parametrize("num_classes", [2, 3, 5, 6, 12])
def test_scores_equal_scikit_learn(num_classes):
    logits, labels = random_logits(num_classes)
    collection = classification_metrics(num_classes)
    collection.update(logits, labels)
    scores = {name: value.item() for name, value in collection.compute().items()}
    predicted, every = logits.argmax(1), list(range(num_classes))
    options = {"average": "macro", "labels": every, "zero_division": 0}
    expected = {
        "accuracy": reference.accuracy_score(labels, predicted),
        "precision": reference.precision_score(labels, predicted, **options),
        "recall": reference.recall_score(labels, predicted, **options),
        "f1": reference.f1_score(labels, predicted, **options),
    }
    if num_classes > 5:
        expected["accuracy_top5"] = reference.top_k_accuracy_score(labels, logits, k=5, labels=every)
        assert expected["accuracy_top5"] < 1  # or it would prove nothing
    assert scores == pytest.approx(expected, abs=1e-6)


def test_inputs_are_not_looked_through_since_the_device_would_be_waited_for():
    assert not any(metric.validate_args for metric in classification_metrics(6).values())
    assert not ClassAccuracy(6).validate_args
    assert not SplitScores(6).confusion.validate_args


def test_classes_that_never_occur_are_left_out_of_the_macro_means():
    logits, labels = random_logits(3)
    wider = torch.cat([logits, torch.full((len(logits), 2), -1e4)], 1)  # classes 3 and 4: no label, no prediction
    collection = classification_metrics(5)
    collection.update(wider, labels)
    options = {"average": "macro", "labels": [0, 1, 2]}
    expected = reference.f1_score(labels, logits.argmax(1), **options)
    assert collection.compute()["f1"].item() == pytest.approx(expected, abs=1e-6)
    assert collection.compute()["recall"].item() == pytest.approx(
        reference.recall_score(labels, logits.argmax(1), **options), abs=1e-6
    )


def test_a_class_that_is_never_predicted_counts_as_zero():
    logits = torch.tensor([[9.0, 0, 0], [9, 0, 0], [0, 9, 0], [9, 0, 0]])
    labels = torch.tensor([0, 0, 1, 2])
    collection = classification_metrics(3)
    collection.update(logits, labels)
    scores = {name: value.item() for name, value in collection.compute().items()}
    expected = {"accuracy": 3 / 4, "precision": (2 / 3 + 1 + 0) / 3, "recall": 2 / 3, "f1": (0.8 + 1 + 0) / 3}
    assert scores == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("num_classes", [4, 8])
def test_batches_add_up_to_one_update_and_reset_forgets(num_classes):
    logits, labels = random_logits(num_classes)
    whole, parts = classification_metrics(num_classes), classification_metrics(num_classes)
    whole.update(logits, labels)
    parts.update(*random_logits(num_classes, seed=1))
    parts.compute()
    parts.reset()
    for chunk in torch.arange(len(labels)).split([100, 1, 60, 50]):
        parts.update(logits[chunk], labels[chunk])
    assert {k: v.item() for k, v in parts.compute().items()} == {k: v.item() for k, v in whole.compute().items()}


def test_class_accuracy_is_the_diagonal_of_the_confusion_matrix_and_nan_without_samples():
    logits, labels = random_logits(6)
    logits, labels = logits[labels != 4], labels[labels != 4]
    metric = ClassAccuracy(6)
    for chunk in torch.arange(len(labels)).split(50):
        metric.update(logits[chunk], labels[chunk])
    matrix = reference.confusion_matrix(labels, logits.argmax(1), labels=range(6))
    assert matrix[:, 4].any(), "it is predicted"
    with np.errstate(invalid="ignore"):
        expected = np.diag(matrix) / matrix.sum(1)
    assert np.isnan(expected).tolist() == [False] * 4 + [True, False]
    assert metric.compute().numpy() == pytest.approx(expected, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("calibrated", [False, True])
def test_the_outcome_is_that_of_scikit_learn(calibrated):
    logits, labels = random_logits(6)
    scores, temperature = SplitScores(6), torch.tensor(2.0)
    for chunk in torch.arange(len(labels)).split(50):
        scores.update(torch.tensor(1.0), 1, logits[chunk], labels[chunk], temperature)
    outcome = scores.outcome(calibrated)
    matrix = reference.confusion_matrix(labels, logits.argmax(1), labels=range(6))
    assert outcome.confusion.tolist() == matrix.tolist()
    assert outcome.class_accuracy.numpy() == pytest.approx(np.diag(matrix) / matrix.sum(1), abs=1e-6)
    confidence = (logits / (temperature if calibrated else 1)).softmax(1).amax(1).double()
    counts, _ = np.histogram(confidence, bins=15, range=(0, 1))
    assert outcome.reliability.count.tolist() == counts.tolist()
    assert outcome.reliability.confidence.nansum() > 0


def test_a_temperature_is_searched_for_where_there_is_none():
    logits, labels = random_logits(6)
    scores, search = SplitScores(6), TemperatureSearch()
    scores.update(torch.tensor(1.0), 1, logits, labels, None)
    search.update(logits, labels)
    assert scores.temperature.compute() == search.compute() != 1
    assert not {"ece", "nll", "brier"} & scores.compute(calibrated=False).keys()


@pytest.mark.parametrize("num_classes", [1000, 1001])
def test_of_very_many_classes_no_matrix_is_kept(num_classes):
    logits, labels = random_logits(num_classes)
    scores = SplitScores(num_classes)
    scores.update(torch.tensor(1.0), 1, logits, labels, None)
    assert (scores.outcome(calibrated=False).confusion is None) == (num_classes > 1000)
