"""Errors of probabilities, beside the metrics', torchmetrics' and scikit-learn's."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from project.analysis.outcomes import collect_outcomes
from project.analysis.report.calibration import _Calibration, bins_of, calibration_section
from project.metrics.calibration import BrierScore, CalibrationError, NegativeLogLikelihood, TemperatureSearch


@pytest.fixture
def answers():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (200,), generator=generator)
    logits = 2 * torch.randn(200, 4, generator=generator, dtype=torch.float64)
    logits[torch.arange(200), labels] += 1
    return logits, labels


def test_they_are_those_of_the_metrics_and_of_torchmetrics(answers):
    logits, labels = answers
    ece, mce, brier, nll = _Calibration(logits, labels)(torch.ones(1, 200, dtype=torch.float64))[0].tolist()
    probabilities = logits.softmax(1)
    for value, metric, argument in (
        (ece, CalibrationError(), probabilities),
        (brier, BrierScore(), probabilities),
        (nll, NegativeLogLikelihood(), logits),
    ):
        metric.update(argument, labels)
        assert value == pytest.approx(metric.compute().item(), abs=1e-9)
    for value, norm in ((ece, "l1"), (mce, "max")):
        theirs = multiclass_calibration_error(probabilities.float(), labels, 4, n_bins=15, norm=norm)
        assert value == pytest.approx(theirs.item(), abs=1e-6)


def test_a_resample_is_measured_as_if_it_were_the_split(answers):
    logits, labels = answers
    drawn = torch.randint(200, (200,), generator=torch.Generator().manual_seed(1))
    ours = _Calibration(logits, labels)(drawn.bincount(minlength=200)[None].double())
    theirs = _Calibration(logits[drawn], labels[drawn])(torch.ones(1, 200, dtype=torch.float64))
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


def test_bins_hold_all_samples(answers):
    bins = bins_of(answers[0].softmax(1), answers[1])
    assert bins.count.sum() == 200
    assert bins.count.shape == (15,)


def test_the_section_has_both_before_and_after(subject):
    plain = calibration_section(subject).plain()
    temperature = plain["scaling"]["temperature"]
    assert temperature == pytest.approx(subject.task.temperature.item())
    before, after = plain["errors"]
    outcomes = subject.outcomes
    expected = torch.nn.functional.cross_entropy(outcomes.logits.double(), outcomes.labels).item()
    assert before["nll"]["value"] == pytest.approx(expected, rel=1e-6)
    expected = torch.nn.functional.cross_entropy(outcomes.logits.double() / temperature, outcomes.labels).item()
    assert after["nll"]["value"] == pytest.approx(expected, rel=1e-6)
    for name in ("as the network says", "with temperature"):
        rows = [row for row in plain["bins"] if row["probabilities"] == name]
        assert sum(row["bin_samples"] for row in rows) == len(outcomes)
        filled = [row for row in rows if row["bin_samples"]]
        assert all(0 <= row["bin_confidence"] <= 1 and 0 <= row["bin_accuracy"] <= 1 for row in filled)
        assert all(row["bin_confidence"] is None for row in rows if not row["bin_samples"])
    assert math.isfinite(after["ece"]["high"])


def test_it_says_where_the_temperature_was_found(subject):
    def notes():
        return [block.text for block in calibration_section(subject).blocks if block.kind == "note"]

    assert notes() == []
    subject.task.tta = "flip"
    assert ["single views" in note for note in notes()] == [True]
    subject.task.tta, subject.outcomes = None, dataclasses.replace(subject.outcomes, split="val")
    assert ["this very split" in note for note in notes()] == [True]


def test_the_temperature_is_that_of_the_validation_split(subject):
    outcomes = collect_outcomes(subject.task, subject.data, "val")
    search = TemperatureSearch()
    search.update(outcomes.logits, outcomes.labels)
    assert search.compute().item() == pytest.approx(subject.task.temperature.item(), rel=1e-4)
