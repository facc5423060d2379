"""What two networks say, counted by hand and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from project.analysis.agreement import compare_answers


def one_hot(*classes: int) -> torch.Tensor:
    return 5 * torch.nn.functional.one_hot(torch.tensor(classes), 3).float()


def test_each_share_is_counted():
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 0, 0])
    teacher = one_hot(0, 0, 0, 0, 0, 1, 1, 2)
    student = one_hot(0, 0, 0, 1, 2, 0, 1, 1)
    found = compare_answers(teacher, student, labels)
    divergence = found.pop("divergence")
    assert found == {
        "agreement": 4 / 8,
        "both_right": 3 / 8,
        "teacher_alone": 2 / 8,
        "student_alone": 1 / 8,
        "none_right": 2 / 8,
    }
    assert divergence > 0


def test_the_divergence_is_that_of_the_student_from_the_teacher():
    teacher, student = np.random.default_rng(0).normal(size=(2, 20, 5))
    probabilities = [np.exp(logits) / np.exp(logits).sum(1, keepdims=True) for logits in (teacher, student)]
    found = compare_answers(*map(torch.from_numpy, (teacher, student)), torch.zeros(20, dtype=torch.int64))
    assert found["divergence"] == pytest.approx(entropy(*probabilities, axis=1).mean(), rel=1e-12)


def test_the_same_network_agrees_with_itself():
    logits = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    found = compare_answers(logits, logits, logits.argmax(1))
    assert (found["agreement"], found["both_right"], found["divergence"]) == (1.0, 1.0, 0.0)
