"""Paired comparisons against a textbook's numbers and resampling."""

from __future__ import annotations

import random
import statistics

import pytest

from project.analysis.comparison import compare

# Student (1908), "The probable error of a mean": additional hours of sleep of ten patients by two drugs
DEXTRO = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
LAEVO = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_students_own_example():
    found = compare(DEXTRO, LAEVO)
    assert found.mean_a == pytest.approx(0.75)
    assert found.mean_b == pytest.approx(2.33)
    assert found.difference == pytest.approx(1.58)
    assert found.interval == pytest.approx((0.7001142, 2.4598858), abs=1e-6)  # R's t.test of the same data
    assert found.p_value == pytest.approx(0.002832890, abs=1e-8)


def test_the_interval_holds_the_truth_nineteen_times_of_twenty():
    draw = random.Random(0)
    inside = 0
    for _ in range(2000):
        a = [draw.gauss(0, 1) for _ in range(5)]
        low, high = compare(a, [value + draw.gauss(0.3, 0.5) for value in a]).interval
        inside += low < 0.3 < high
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)


def test_without_any_spread_there_is_no_division_by_zero():
    same = compare([1.0, 2.0], [1.0, 2.0])
    assert (same.difference, same.interval, same.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert compare([1.0, 2.0], [2.0, 3.0]).p_value == 0.0


def test_both_must_have_the_same_seeds():
    with pytest.raises(ValueError, match="shorter"):
        compare([1.0, 2.0], [1.0])
    with pytest.raises(statistics.StatisticsError):
        compare([1.0], [2.0])
