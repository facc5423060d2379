"""The reliability diagram, against bins counted here."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from project.analysis.figures import reliability_figure
from project.metrics.calibration import Bins, CalibrationError


def test_bars_are_the_accuracy_of_each_bin_and_the_title_has_the_error():
    torch.manual_seed(0)
    probabilities, labels = (2 * torch.randn(300, 4)).softmax(1), torch.randint(0, 4, (300,))
    metric = CalibrationError(10)
    metric.update(probabilities, labels)
    upper, lower = reliability_figure(metric.bins(), "Validation").axes
    confidence, guess = probabilities.max(1)
    places = (confidence * 10).long().clamp(max=9)
    for bars, axes in ((upper.patches, upper), (lower.patches, lower)):
        assert len(bars) == len(places.unique())
        for bar in bars:
            inside = places == round(bar.get_x() * 10)
            right = (guess == labels)[inside].double().mean().item()
            assert bar.get_height() == pytest.approx(
                right if axes is upper else inside.double().mean().item(), abs=1e-6
            )
            assert bar.get_width() == pytest.approx(0.1)
    assert upper.get_title(loc="left") == f"Validation: ECE {100 * metric.compute().item():.2f} %"


def test_bins_without_samples_are_left_out():
    bins = Bins(torch.tensor([0.0, 4.0]), torch.tensor([torch.nan, 0.8]), torch.tensor([torch.nan, 0.5]))
    upper, _ = reliability_figure(bins).axes
    assert [(bar.get_x(), bar.get_height()) for bar in upper.patches] == [(0.5, 0.5)]
    assert upper.get_title(loc="left") == "Reliability: ECE 30.00 %"
    empty = Bins(torch.zeros(2), torch.full((2,), torch.nan), torch.full((2,), torch.nan))
    assert reliability_figure(empty).axes[0].get_title(loc="left") == "Reliability: no samples"


def test_points_lie_at_the_mean_confidence():
    bins = Bins(torch.tensor([1.0, 3.0]), torch.tensor([0.4, 0.9]), torch.tensor([0.0, 1.0]))
    points = reliability_figure(bins).axes[0].lines[1]
    np.testing.assert_allclose(points.get_xdata(), [0.4, 0.9], atol=1e-7)
