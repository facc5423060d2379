"""Scores of classes, beside torchmetrics' and scikit-learn's."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_recall_fscore_support, top_k_accuracy_score

from project.analysis.bootstrap import Estimate
from project.analysis.outcomes import Outcomes
from project.analysis.report.accuracy import accuracy_section, class_scores, confusion_section
from project.analysis.report.document import Picture
from project.metrics import classification_metrics

NAMES = ["a", "b", "c", "d", "e", "f", "never"]


@pytest.fixture
def outcomes():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(6, (60,), generator=generator)  # the seventh class is in neither
    logits = torch.randn(60, 7, generator=generator)
    logits[:, 6] -= 20
    logits[torch.arange(60), labels] += 1
    return Outcomes("test", NAMES, logits, labels, torch.arange(60), [f"test {i}" for i in range(60)])


def test_they_are_those_of_torchmetrics_and_scikit_learn(outcomes):
    scores = class_scores(outcomes, torch.ones(1, 60, dtype=torch.float64))[0]
    metrics = classification_metrics(7)
    metrics.update(outcomes.logits, outcomes.labels)
    expected = metrics.compute()
    for place, name in enumerate(("accuracy_top5", "accuracy", "precision", "recall", "f1")):
        assert scores[place].item() == pytest.approx(expected[name].item(), abs=1e-6), name
    labels, said = outcomes.labels.numpy(), outcomes.predictions.numpy()
    assert scores[0].item() == pytest.approx(top_k_accuracy_score(labels, outcomes.logits, k=5, labels=range(7)))
    each = precision_recall_fscore_support(labels, said, labels=range(6), zero_division=0)[:3]
    np.testing.assert_allclose(scores[5:].view(7, 3)[:6].T, each, atol=1e-12)
    assert scores[5:].view(7, 3)[6].isnan().all()


def test_class_scores_of_a_class_without_samples_are_nan_and_0_in_the_means(outcomes):
    kept = torch.nonzero(outcomes.labels != 2).flatten()
    assert (outcomes.predictions[kept] == 2).any()
    without = Outcomes("test", NAMES, outcomes.logits[kept], outcomes.labels[kept], kept, [])
    scores = class_scores(without, torch.ones(1, len(kept), dtype=torch.float64))[0]
    metrics = classification_metrics(7)
    metrics.update(without.logits, without.labels)
    expected = metrics.compute()
    assert scores[2:5].tolist() == pytest.approx([expected[name].item() for name in ("precision", "recall", "f1")])
    precision, recall, f1 = scores[5:].view(7, 3)[2].tolist()
    assert precision == 0
    assert np.isnan([recall, f1]).all()


def test_the_section_has_null_for_a_class_without_samples_and_names_another_as_the_worst(outcomes):
    kept = torch.nonzero(outcomes.labels != 2).flatten()
    without = Outcomes("test", NAMES, outcomes.logits[kept], outcomes.labels[kept], kept, [])
    section = accuracy_section(SimpleNamespace(outcomes=without, seed=0))
    rows = {row["class"]: row for row in section.plain()["classes"]}
    assert list(rows)[-2:] == ["c", "never"]
    nothing = {"value": None, "low": None, "high": None}
    assert (rows["c"]["support"], rows["c"]["recall"], rows["c"]["f1"]) == (0, nothing, nothing)
    pictures = [block for block in section.blocks if isinstance(block, Picture)]
    assert not pictures[0].text.endswith((", of c.", ", of never."))


def test_a_resample_is_scored_as_if_it_were_the_split(outcomes):
    drawn = torch.randint(60, (60,), generator=torch.Generator().manual_seed(3))
    counts = drawn.bincount(minlength=60)[None].double()
    again = Outcomes("test", NAMES, outcomes.logits[drawn], outcomes.labels[drawn], torch.arange(60), [])
    expected = class_scores(again, torch.ones(1, 60, dtype=torch.float64))
    torch.testing.assert_close(class_scores(outcomes, counts), expected, equal_nan=True, atol=1e-12, rtol=0)


def test_the_section_has_every_class(subject):
    section = accuracy_section(subject)
    plain = section.plain()
    assert "accuracy_top5" not in plain["all"]  # of three classes
    assert plain["all"]["accuracy"]["value"] == pytest.approx(subject.outcomes.correct.double().mean().item())
    assert plain["all"]["accuracy"]["low"] <= plain["all"]["accuracy"]["value"] <= plain["all"]["accuracy"]["high"]
    assert {row["class"] for row in plain["classes"]} == {"a", "b", "c"}
    assert [row["support"] for row in plain["classes"]] == [2, 2, 2]
    f1 = [row["f1"]["value"] for row in plain["classes"]]
    assert f1 == sorted(f1)


def test_confusion_and_its_worst_pairs(subject):
    outcomes = subject.outcomes
    logits = torch.eye(3)[torch.tensor([0, 1, 1, 1, 2, 0])]
    subject.outcomes = Outcomes("test", ["a", "b", "c"], logits, torch.tensor([0, 0, 0, 1, 2, 2]), outcomes.indices, [])
    plain = confusion_section(subject).plain()
    assert plain["confusion"] == [[1, 2, 0], [0, 1, 0], [1, 0, 1]]
    assert plain["pairs"] == [
        {"true_class": "a", "predicted_class": "b", "confused": 2, "confused_share": pytest.approx(2 / 3)},
        {"true_class": "c", "predicted_class": "a", "confused": 1, "confused_share": pytest.approx(1 / 2)},
    ]


def test_estimates_are_what_the_page_gets(subject):
    numbers = accuracy_section(subject).blocks[0]
    assert all(isinstance(value, Estimate) for value in numbers.values.values())
