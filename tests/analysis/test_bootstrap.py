"""Intervals, beside SciPy's and beside a loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from project.analysis.bootstrap import bootstrap, bootstrap_mean, mean_of


def test_the_interval_of_a_mean_is_scipys():
    scores = np.random.default_rng(0).gamma(2.0, size=80)
    (ours,) = bootstrap_mean(torch.from_numpy(scores), resamples=20_000)
    theirs = stats.bootstrap((scores,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert ours.value == pytest.approx(scores.mean(), rel=1e-12)
    deviation = scores.std() / len(scores) ** 0.5
    # both are quantiles of 20,000 random numbers, right to some 2 % of their deviation
    assert ours.low == pytest.approx(theirs.low, abs=0.06 * deviation)
    assert ours.high == pytest.approx(theirs.high, abs=0.06 * deviation)


def test_it_equals_a_loop_over_the_same_draws():
    scores = torch.rand(23, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    drawn = torch.randint(23, (50, 23), generator=torch.Generator().manual_seed(7))
    means = np.array([[scores[row, column].mean().item() for column in (0, 1)] for row in drawn])
    low, high = np.quantile(means, (0.025, 0.975), axis=0)
    for column, estimate in enumerate(bootstrap_mean(scores, seed=7, resamples=50)):
        assert estimate == pytest.approx((scores[:, column].mean().item(), low[column], high[column]), rel=1e-12)


def test_memory_is_bounded_and_changes_nothing(monkeypatch):
    scores = torch.rand(31, generator=torch.Generator().manual_seed(2))
    whole = bootstrap_mean(scores, resamples=40)
    monkeypatch.setattr("project.analysis.bootstrap._NUMBERS_AT_A_TIME", 100)
    monkeypatch.setattr("project.analysis.bootstrap._COLUMNS", 1)
    sizes = []

    def spying(counts):
        sizes.append(len(counts))
        return mean_of(scores)(counts)

    assert bootstrap(spying, 31, resamples=40)[0].value == whole[0].value
    assert max(sizes) <= 100 // 31
    assert sum(sizes) == 41


def test_counts_are_of_whole_resamples():
    def size(counts: torch.Tensor) -> torch.Tensor:
        assert (counts == counts.round()).all()
        return counts.sum(1, keepdim=True)

    assert bootstrap(size, 9, resamples=30) == [(9.0, 9.0, 9.0)]


def test_undefined_resamples_are_left_out():
    # the mean of the second of two groups, which some resamples do not have
    member = torch.tensor([1.0, 1.0, 1.0, 0.0]).double()
    other = bootstrap(lambda counts: (counts @ (1 - member) / (counts @ (1 - member)))[:, None], 4, resamples=200)[0]
    assert other == (1.0, 1.0, 1.0)


def test_without_samples_there_is_neither():
    (estimate,) = bootstrap_mean(torch.empty(0))
    assert all(map(math.isnan, estimate))


def test_the_seed_decides():
    scores = torch.rand(40, generator=torch.Generator().manual_seed(0))
    assert bootstrap_mean(scores, seed=1) == bootstrap_mean(scores, seed=1)
    assert bootstrap_mean(scores, seed=1) != bootstrap_mean(scores, seed=2)
