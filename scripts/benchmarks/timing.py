"""How things are timed: side by side, several rounds over, the best one of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

Row = dict[str, Any]


def best_of(rounds: int, candidates: dict[str, Callable[[], float]]) -> dict[str, float]:
    """The smallest result of each candidate over interleaved rounds."""
    results: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, measure in candidates.items():
            results[name].append(measure())
    return {name: min(values) for name, values in results.items()}


def seconds(function: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
