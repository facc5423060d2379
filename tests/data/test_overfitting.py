"""The order of `overfit_batches`: a fixed subset of all classes."""

from __future__ import annotations

import numpy as np
import pytest

from project.data.overfitting import OverfittingOrder


@pytest.mark.parametrize("labels", [np.repeat([0, 1, 2, 3], 50), np.repeat([0, 2, 3], [1, 100, 7]), np.zeros(9, int)])
@pytest.mark.parametrize("count", [1, 4, 6, 40])
def test_overfitting_order_of_sorted_files_takes_as_many_of_each_class(labels, count):
    first = np.concatenate(list(OverfittingOrder(labels, 4, seed=3).batches()))[:count]
    found, whole = np.bincount(labels[first], minlength=4), np.bincount(labels, minlength=4)
    # by hand: fill classes evenly until they have no more
    levels = [np.minimum(whole, level) for level in range(101)]
    low = max(level.sum() for level in levels if level.sum() <= min(count, len(labels)))
    (base,) = {tuple(level) for level in levels if level.sum() == low}
    assert ((found - base >= 0) & (found - base <= 1)).all()


def test_overfitting_order_is_shuffled_fixed_and_whole():
    labels = np.repeat(np.arange(5), 20)
    one, same, other = (np.concatenate(list(OverfittingOrder(labels, 8, seed).batches())) for seed in (1, 1, 2))
    assert one.tolist() == same.tolist() != other.tolist()
    assert sorted(one) == list(range(100))
    assert labels[one[:5]].tolist() != labels[one[5:10]].tolist()  # classes in another order each time


def test_overfitting_order_of_two_processes_is_that_of_one():
    labels = np.repeat(np.arange(3), 10)
    whole = OverfittingOrder(labels, 4, 0).indices
    parts = [OverfittingOrder(labels, 4, 0, rank, 2).indices for rank in range(2)]
    assert np.stack(parts, 1).ravel().tolist() == whole.tolist()
