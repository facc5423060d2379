"""Which metrics are better when they are less."""

from __future__ import annotations

from typing import Literal

_LESS = frozenset({
    "loss", "nll", "brier", "ece", "ece_uncalibrated", "cut_rate", "unknown_rate", "teacher_kl",
})  # fmt: skip


def direction(metric: str) -> Literal["min", "max"]:
    """`min` where less of a metric is better, such as `val/loss`; `max` of all that are not known here."""
    return "min" if metric.rpartition("/")[2] in _LESS or metric.endswith("loss") else "max"
