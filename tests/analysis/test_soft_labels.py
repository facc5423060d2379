"""Softened probabilities against scipy and sums written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special, stats

from project.analysis.soft_labels import class_similarity, entropy, soften

LOGITS = np.random.default_rng(0).normal(0, 3, (40, 6))
LABELS = np.arange(40) % 5  # class 5 has no samples


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 100.0])
def test_softening(temperature):
    found = soften(torch.from_numpy(LOGITS), temperature)
    assert found.dtype == torch.float32
    assert np.allclose(found, special.softmax(LOGITS / temperature, axis=1), atol=1e-6)


def test_entropy_lies_between_certainty_and_ignorance():
    probabilities = special.softmax(LOGITS, axis=1)
    assert np.allclose(entropy(torch.from_numpy(probabilities)), stats.entropy(probabilities, axis=1), atol=1e-6)
    assert entropy(torch.tensor([[1.0, 0.0]])).item() == 0.0
    assert entropy(torch.full((1, 8), 1 / 8)).item() == pytest.approx(np.log(8))


def test_similarity_is_the_mean_without_the_true_class():
    found = class_similarity(torch.from_numpy(LOGITS), torch.from_numpy(LABELS), 2.0).numpy()
    soft = special.softmax(LOGITS / 2, axis=1)
    for label in range(5):
        mean = soft[np.equal(LABELS, label)].mean(0)
        for other in range(6):
            if other == label:
                assert np.isnan(found[label, other])
            else:
                assert found[label, other] == pytest.approx(mean[other] / (1 - mean[label]), rel=1e-4)
    assert np.isnan(found[5]).all()
