"""Whether one recipe is better than another, from the same seeds of both."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from scipy import stats


class Comparison(NamedTuple):
    """Of n paired numbers: both means and standard deviations, and what the second has more than the first.

    interval: 95 % confidence interval of the mean difference (Student's t with n - 1 degrees of freedom).
    p_value: of the paired t-test, two-sided: how often a difference as large comes about where there is none.
    """

    mean_a: float
    deviation_a: float
    mean_b: float
    deviation_b: float
    difference: float
    interval: tuple[float, float]
    p_value: float


def compare(a: Sequence[float], b: Sequence[float]) -> Comparison:
    """Compares two recipes.

    Args:
        a: a number of each seed, such as accuracies; two or more.
        b: of the same seeds in the same order.
    """
    differences = [theirs - ours for ours, theirs in zip(a, b, strict=True)]
    mean = statistics.mean(differences)
    error = statistics.stdev(differences) / len(differences) ** 0.5
    reach = stats.t.ppf(0.975, len(differences) - 1) * error
    same = error == 0.0  # the test divides by it
    p_value = float(mean == 0) if same else float(stats.ttest_rel(b, a).pvalue)
    return Comparison(
        statistics.mean(a),
        statistics.stdev(a),
        statistics.mean(b),
        statistics.stdev(b),
        mean,
        (mean - reach, mean + reach),
        p_value,
    )
